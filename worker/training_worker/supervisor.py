"""The parent's side of an attempt: renews its lease, watches its steps, and ends it if it must.

Runs outside the trainer's process, so that a trainer which is busy in a long kernel, or stuck,
neither loses its lease nor keeps it for ever.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from artifact_store import ArtifactStoreAwayError, GuardedStore
from job_store.attempts import AttemptStore
from job_store.errors import (
    FencedError,
    JobStoreError,
    NotFoundError,
    StoreUnavailableError,
    TransitionRefusedError,
)
from job_store.reconcile import stall_message
from job_store.records import Claimed, JobError, Outcome, OutcomeKind, Phase, PhaseProgress, Signals
from training_worker.board import Board
from training_worker.exits import EXIT_FAILED, EXIT_FENCED, EXIT_OK
from training_worker.output import OutputReader, output_tail
from training_worker.ranks import noted_failure

logger = logging.getLogger(__name__)

_TICK_MS = 100
_LONGEST_TICK_SECONDS = 1.0
"""Of a longer one the rest is not held against the trainer: the machine stood still, or this
process did, and the trainer may not have had its turn yet."""
_LEAVE_MARGIN_SECONDS = 2.0
"""Kept back from the grace for reporting and leaving."""
_FULL_DISK = (
    "the disk of the checkpoints is full: nothing could be saved since step {step}; training goes "
    "on and saves once there is room; free some space"
)
_ENDLESS_ENCODING = (
    "the tokenizer worked for {seconds:g} s on {place} without coming to an end; it must be done "
    "sooner; look at the patterns of its tokenizer.json, divide the text into documents, or raise "
    "`execution.stall_timeout_seconds`"
)
_STORE_AWAY = (
    "nothing could be saved since step {step}: {why}; training goes on and saves once the store is "
    "there again"
)


class Kill(Enum):
    """Why the parent killed a trainer."""

    FENCED = "another attempt has taken over"
    STOP_TIMEOUT = "the stop took too long"
    STALLED = "no step for too long"
    GRACE = "the worker's grace ran out"
    FORCED = "a second signal"


@dataclass
class Deadlines:
    """None while there is none."""

    stop: float | None = None
    """In the seconds that the supervisor has watched: a clock that is set, or a machine that
    sleeps, takes nothing away from the time for the last save."""
    leave: float | None = None
    """A time of the monotonic clock, since the grace of a worker's end is counted by that clock."""


class Supervisor:
    """Watches one horse until it is gone, then reports what it could not report itself."""

    def __init__(
        self,
        claimed: Claimed,
        store: AttemptStore,
        board: Board,
        folder: Path,
        artifacts: GuardedStore,
        *,
        renewal_seconds: float,
        heartbeat: Callable[[], None],
    ) -> None:
        self._claimed, self._store, self._board, self._folder = claimed, store, board, folder
        self._artifacts = artifacts
        self._renewal_seconds = renewal_seconds
        self._heartbeat = heartbeat
        self._deadlines = Deadlines()
        self._killed: Kill | None = None
        self._pid = 0
        self._seen = self._look()
        self._looked_at, self._watched, self._alive_at = time.monotonic(), 0.0, 0.0
        self._renew_at = 0.0
        self._told_to_stop = False
        self._told_failed_save: int | None = None

    # -- called from signal handlers ---------------------------------------------------------

    def hand_back(self, grace_seconds: float) -> None:
        """Let the horse save and hand its job back, since the worker leaves."""
        margin = min(_LEAVE_MARGIN_SECONDS, grace_seconds / 4)
        self._deadlines.leave = time.monotonic() + grace_seconds - margin
        self._signal(signal.SIGTERM)

    def kill(self, why: Kill) -> None:
        """End the horse and its children now."""
        self._killed = self._killed or why
        logger.warning("killing the trainer of job %s: %s", self._job_id, why.value)
        _kill_group(self._pid)

    @property
    def _job_id(self) -> str:
        return self._claimed.token.job_id

    # -- watching ----------------------------------------------------------------------------

    def attach(self, pid: int) -> None:
        """From now on signals reach this process."""
        self._pid = pid

    def watch(self, pid: int) -> None:
        """Return when the horse is gone and the attempt's end is reported."""
        self._renew_at = time.monotonic() + self._renewal_seconds
        handle = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            while not poller.poll(_TICK_MS):
                self._tick(time.monotonic())
        finally:
            os.close(handle)
            _kill_group(pid)  # data loaders that outlived it, or all of it if watching failed
            _, status = os.waitpid(pid, 0)
            self._pid = 0
        self._report(os.waitstatus_to_exitcode(status))

    def _tick(self, now: float) -> None:
        if now >= self._renew_at:
            self._renew_at = now + self._renewal_seconds
            self._renew()
            self._heartbeat()
        self._watched += min(now - self._looked_at, _LONGEST_TICK_SECONDS)
        self._looked_at = now
        if self._killed is not None:
            return
        if _passed(self._deadlines.stop, self._watched):
            self.kill(Kill.STOP_TIMEOUT)
        elif _passed(self._deadlines.leave, now):
            self.kill(Kill.GRACE)
        elif self._is_stalled():
            self.kill(Kill.STALLED)

    def _renew(self) -> None:
        try:
            signals = self._store.renew_lease(self._claimed.token)
        except (FencedError, NotFoundError):
            self.kill(Kill.FENCED)
        except StoreUnavailableError as error:
            # An outage makes no attempt lost: the reconciler, which decides that, has it too.
            logger.warning("the lease of job %s waits: %s", self._job_id, error)
        except Exception:  # the trainer goes on, so watching it does too
            logger.exception("the lease of job %s could not be renewed; trying again", self._job_id)
        else:
            self._obey(signals)
            self._tell_of_failed_saves()

    def _tell_of_failed_saves(self) -> None:
        """Say in the job's status that it trains on unsaved, and when that is over."""
        failed = self._board.failed_save
        if (failed is None) == (self._told_failed_save is None):
            return
        message = "" if failed is None else self._why_unsaved(failed)
        try:
            self._store.note(self._claimed.token, message)
        except Exception as error:
            logger.warning("job %s: a note waits: %s", self._job_id, error)
        else:
            self._told_failed_save = failed

    def _why_unsaved(self, step: int) -> str:
        try:
            self._artifacts.require()
        except ArtifactStoreAwayError as error:
            return _STORE_AWAY.format(step=step, why=error)
        return _FULL_DISK.format(step=step)

    def _obey(self, signals: Signals) -> None:
        if not signals.stop_requested or self._told_to_stop:
            return
        # The trainer's own publisher usually knew first; this is for one that is stuck.
        self._told_to_stop = True
        allowed = self._claimed.record.execution.stop_timeout_seconds
        self._deadlines.stop = self._watched + allowed
        self._signal(signal.SIGUSR1)

    def _is_stalled(self) -> bool:
        seen = self._look()
        if seen != self._seen or seen[1] is Phase.SAVING:
            self._seen, self._alive_at = seen, self._watched
        silent = self._watched - self._alive_at
        return silent > self._claimed.record.execution.stall_timeout_seconds

    def _look(self) -> tuple[int, Phase, int, PhaseProgress, int]:
        """Whatever of this changes is a sign of life."""
        return (*self._board.read(), self._board.pulses)

    def _signal(self, number: signal.Signals) -> None:
        """To the horse alone: its group holds data loaders that must live to the step's end."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    # -- the end -----------------------------------------------------------------------------

    def _report(self, code: int) -> None:
        if code in (EXIT_OK, EXIT_FENCED) or self._killed is Kill.FENCED:
            return
        outcome = self._outcome(code)
        logger.warning("the trainer of job %s ended by itself: %s", self._job_id, outcome)
        while not self._try_report(outcome):
            if _passed(self._deadlines.leave, time.monotonic()):
                logger.warning("leaving without a report; the reconciler will notice")
                return
            time.sleep(0.3)

    def _try_report(self, outcome: Outcome) -> bool:
        """Deliver the last lines of output, then end the attempt; False if the store is away."""
        try:
            self._publish_last_output()
            self._store.finish(self._claimed.token, outcome)
        except StoreUnavailableError:
            return False
        except (FencedError, NotFoundError, TransitionRefusedError) as error:
            logger.warning("the report was not needed any more: %s", error)
        except JobStoreError as error:
            logger.error("the end of job %s was refused: %s", self._job_id, error)
        return True

    def _publish_last_output(self) -> None:
        token = self._claimed.token
        mine = [a for a in self._store.attempts(token.job_id) if a.attempt == token.attempt]
        last = mine[0].last_log_seq if mine else None
        reader = OutputReader(self._folder, next_seq=0 if last is None else last + 1)
        while lines := reader.peek(final=True):
            self._store.append_logs(token, lines)
            reader.advance()

    def _outcome(self, code: int) -> Outcome:
        execution = self._claimed.record.execution
        if self._killed is Kill.STOP_TIMEOUT:
            message = (
                f"the trainer did not stop within {execution.stop_timeout_seconds:g} s and was "
                "killed; the job can be resumed from its last registered checkpoint"
            )
            return Outcome(OutcomeKind.STOPPED, message=message)
        if self._killed in (Kill.GRACE, Kill.FORCED):
            message = (
                "the worker left before the trainer could save; the job continues from its last "
                "registered checkpoint"
            )
            return Outcome(OutcomeKind.HANDED_BACK, message=message)
        tail = output_tail(self._folder)
        if self._killed is Kill.STALLED and (place := self._board.encoding):
            # Another attempt would meet the same text with the same tokenizer.
            reason = _ENDLESS_ENCODING.format(seconds=execution.stall_timeout_seconds, place=place)
            return Outcome(OutcomeKind.FAILED, JobError("INVALID_DATA", reason, tail))
        if self._killed is None and code == EXIT_FAILED:
            # Rank 0 may have been ended before it could report what another process died of.
            failure = noted_failure(self._folder, tail)
            if failure is not None:
                return failure
        return Outcome(OutcomeKind.CRASHED, self._error(code, tail))

    def _error(self, code: int, tail: str) -> JobError:
        if self._killed is Kill.STALLED:
            seconds = self._claimed.record.execution.stall_timeout_seconds
            step, phase, *_ = self._seen
            return JobError("STALLED", stall_message(seconds, step, phase), tail)
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
            return JobError("TRAINER_DIED", f"the trainer was ended by {name}{hint}", tail)
        return JobError("TRAINER_DIED", f"the trainer exited with code {code}", tail)


def _passed(deadline: float | None, now: float) -> bool:
    return deadline is not None and now >= deadline


def _kill_group(pid: int) -> None:
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
