"""The parent's side of an attempt: renews its lease, watches its steps, and ends it if it must.

Runs outside the trainer's process, so that a trainer which is busy in a long kernel, or stuck,
neither loses its lease nor keeps it forever.
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
from typing import NamedTuple

from artifact_store import GuardedStore
from job_store.attempts import AttemptStore
from job_store.errors import (
    FencedError,
    JobStoreError,
    NotFoundError,
    StoreUnavailableError,
    TransitionRefusedError,
)
from job_store.reconcile import stall_message
from job_store.records import Claimed, JobError, Outcome, OutcomeKind, Phase, Signals
from training_worker.board import Board, TrainerStatus
from training_worker.exits import EXIT_AWAY, EXIT_FAILED, EXIT_FENCED, EXIT_OK
from training_worker.journal import JobJournal
from training_worker.output import OutputReader, output_tail
from training_worker.places import PlaceCounts
from training_worker.ranks import FailureNotes
from training_worker.system_sampler import SystemSampler

logger = logging.getLogger(__name__)

_TICK_MS = 100
_PROMPT_SECONDS = 0.5
"""On a healthy network each answer takes less than this."""

_LONGEST_TICK_SECONDS = 1.0
"""A longer tick counts as this long: the machine or this process was paused, and the trainer may
not have run meanwhile."""
_CLOSING_SECONDS = 60.0
"""How long a trainer may take to end once it has reported the attempt's end."""
LEAVE_MARGIN_SECONDS = 2.0
"""Part of the grace that is kept for the report and the worker's own end."""
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
    LINGERED = "it did not end after its report"
    NODE_LOST = "a worker of another node shows no sign of life"


@dataclass
class Deadlines:
    """When the trainer is killed, by two clocks; None while there is no such deadline."""

    stop_watched: float | None = None
    """End of a stop's time limit, in the seconds that the supervisor has watched: a clock that is
    set, or a machine that sleeps, takes nothing away from the time for the last save."""
    closing_watched: float | None = None
    """End of the time to close what is open, after the trainer has reported its end."""
    leave_monotonic: float | None = None
    """End of the worker's grace, in `time.monotonic()`, by which the grace is counted."""


class SignsOfLife(NamedTuple):
    """What the board shows: a change of any part means that the trainer is not stuck."""

    status: TrainerStatus
    pulses: int


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
        place_lease_seconds: float = 15.0,
        heartbeat: Callable[[], None],
    ) -> None:
        self._claimed, self._store, self._board, self._folder = claimed, store, board, folder
        self._artifacts = artifacts
        self._renewal_seconds = renewal_seconds
        self._heartbeat = heartbeat
        self._deadlines = Deadlines()
        self._killed: Kill | None = None
        self._pid = 0
        self._last_signs = self._read_signs()
        self._ticked_at, self._watched, self._alive_at = time.monotonic(), 0.0, 0.0
        self._next_renewal = 0.0
        self._stop_forwarded = False
        self._noted_failed_save: int | None = None
        self._sampler: SystemSampler | None = None
        self._places = PlaceCounts(claimed.record.execution.nodes, place_lease_seconds)

    # -- called from signal handlers ---------------------------------------------------------

    def hand_back(self, grace_seconds: float) -> None:
        """Let the horse save and hand its job back, since the worker leaves."""
        margin = min(LEAVE_MARGIN_SECONDS, grace_seconds / 4)
        self._deadlines.leave_monotonic = time.monotonic() + grace_seconds - margin
        self._signal(signal.SIGTERM)

    def kill(self, why: Kill) -> None:
        """End the horse and its children now."""
        self._killed = self._killed or why
        logger.warning("killing the trainer of job %s: %s", self._job_id, why.value)
        kill_group(self._pid)

    @property
    def _job_id(self) -> str:
        return self._claimed.token.job_id

    # -- watching ----------------------------------------------------------------------------

    def attach(self, pid: int) -> None:
        """Send signals to this process from now on."""
        self._pid = pid

    def watch(self, pid: int) -> None:
        """Return when the horse is gone and the attempt's end is reported."""
        self._next_renewal = time.monotonic() + self._renewal_seconds
        handle = os.pidfd_open(pid)
        sampler = self._sampler = SystemSampler(pid)
        sampler.start()
        try:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            while not poller.poll(_TICK_MS):
                self._tick(time.monotonic())
        finally:
            os.close(handle)
            sampler.end()
            kill_group(pid)  # data loaders that outlived it, or the horse if watching failed
            _, status = os.waitpid(pid, 0)
            self._pid = 0
        self._report(os.waitstatus_to_exitcode(status))

    def _tick(self, now: float) -> None:
        if now >= self._next_renewal:
            self._next_renewal = now + self._renewal_seconds
            if self._renew():  # else the next call would wait as long
                self._heartbeat()
        self._watched += min(now - self._ticked_at, _LONGEST_TICK_SECONDS)
        self._ticked_at = now
        if self._killed is not None:
            return
        if _passed(self._deadlines.stop_watched, self._watched):
            self.kill(Kill.STOP_TIMEOUT)
        elif _passed(self._deadlines.leave_monotonic, now):
            self.kill(Kill.GRACE)
        elif _passed(self._deadlines.closing_watched, self._watched):
            self.kill(Kill.LINGERED)
        elif self._is_stalled():
            self.kill(Kill.STALLED)

    def _renew(self) -> bool:
        """Renew the lease and act on the answer; return False where the store gave none."""
        began = time.monotonic()
        try:
            signals = self._renewed_lease()
        except (FencedError, NotFoundError):
            self.kill(Kill.FENCED)
        except StoreUnavailableError as error:
            # An outage does not lose the attempt: the reconciler, which decides that, has it too.
            logger.warning("the lease of job %s waits: %s", self._job_id, error)
            return False
        except Exception:  # the trainer goes on, so watching it does too
            logger.exception("the lease of job %s could not be renewed; trying again", self._job_id)
        else:
            if signals is not None:
                self._forward_stop(signals)
                self._watch_places()
                self._note_failed_saves()
                # On a slow network the time belongs to the next renewal; samples can wait.
                if self._sampler is not None and time.monotonic() - began < _PROMPT_SECONDS:
                    self._sampler.deliver(self._store, self._claimed.token, _PROMPT_SECONDS)
        return True

    def _watch_places(self) -> None:
        """End the run where another node is gone, though no connection to it has broken."""
        if self._places.expected:
            self._places.observe(self._store.places(self._job_id), self._watched)
            self._board.show_work_elsewhere(self._store.work_of_places(self._job_id))
            if self._places.lost is not None:
                self.kill(Kill.NODE_LOST)

    def _renewed_lease(self) -> Signals | None:
        """Renew the lease; None where the trainer has reported its end, and only closes files."""
        try:
            return self._store.renew_lease(self._claimed.token)
        except FencedError:
            if not self._has_reported():
                raise
        if self._deadlines.closing_watched is None:
            self._deadlines.closing_watched = self._watched + _CLOSING_SECONDS
        return None

    def _has_reported(self) -> bool:
        token = self._claimed.token
        return any(
            attempt.claim_id == token.claim_id and attempt.outcome not in ("", "lost")
            for attempt in self._store.attempts(token.job_id)
        )

    def _note_failed_saves(self) -> None:
        """Note in the job's status that saves fail while it trains on; clear that afterwards."""
        failed = self._board.failed_save
        if (failed is None) == (self._noted_failed_save is None):
            return
        message = "" if failed is None else self._why_unsaved(failed)
        try:
            self._store.note(self._claimed.token, message)
        except Exception as error:
            logger.warning("job %s: a note waits: %s", self._job_id, error)
        else:
            self._noted_failed_save = failed

    def _why_unsaved(self, step: int) -> str:
        # Not asked of the store here: a bucket that hangs would cost the lease.
        why = self._board.why_unsaved
        return _STORE_AWAY.format(step=step, why=why) if why else _FULL_DISK.format(step=step)

    def _forward_stop(self, signals: Signals) -> None:
        """Pass a stop request on to the horse, once, and start its time limit."""
        if not signals.stop_requested or self._stop_forwarded:
            return
        # The trainer's own publisher usually receives the request first; it may be stuck.
        self._stop_forwarded = True
        allowed = self._claimed.record.execution.stop_timeout_seconds
        self._deadlines.stop_watched = self._watched + allowed
        self._signal(signal.SIGUSR1)

    def _is_stalled(self) -> bool:
        signs = self._read_signs()
        if signs != self._last_signs or signs.status.phase is Phase.SAVING:
            self._last_signs, self._alive_at = signs, self._watched
        silent = self._watched - self._alive_at
        return silent > self._claimed.record.execution.stall_timeout_seconds

    def _read_signs(self) -> SignsOfLife:
        return SignsOfLife(self._board.read(), self._board.pulses)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the horse alone: data loaders in its group must live to the step's end."""
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
            if _passed(self._deadlines.leave_monotonic, time.monotonic()):
                logger.warning("leaving without a report; the reconciler will notice")
                return
            time.sleep(0.3)

    def _try_report(self, outcome: Outcome) -> bool:
        """Deliver the last lines of output, then end the attempt; False if the store is away."""
        try:
            self._publish_last_output()
            self._store.finish(self._claimed.token, outcome)
            JobJournal(self._store, self._artifacts, self._job_id).record_end()
        except StoreUnavailableError:
            return False
        except (FencedError, NotFoundError, TransitionRefusedError) as error:
            logger.warning("the report was not needed any more: %s", error)
        except JobStoreError as error:
            logger.error("the end of job %s was refused: %s", self._job_id, error)
        return True

    def _publish_last_output(self) -> None:
        token = self._claimed.token
        own = [a for a in self._store.attempts(token.job_id) if a.attempt == token.attempt]
        last = own[0].last_log_seq if own else None
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
        if code == EXIT_AWAY:
            return Outcome(OutcomeKind.HANDED_BACK, message=self._board.why_unsaved)
        tail = output_tail(self._folder)
        if self._killed is Kill.STALLED and (place := self._board.encoding):
            # Another attempt would meet the same text with the same tokenizer.
            reason = _ENDLESS_ENCODING.format(seconds=execution.stall_timeout_seconds, place=place)
            return Outcome(OutcomeKind.FAILED, JobError("INVALID_DATA", reason, tail))
        if self._killed is Kill.NODE_LOST or (self._killed is None and code == EXIT_FAILED):
            # Rank 0 may have been ended before it could report what another process died of.
            token = self._claimed.token
            failure = FailureNotes(self._artifacts, token, execution.nodes).read(tail)
            if failure is not None:
                return failure
        return Outcome(OutcomeKind.CRASHED, self._error(code, tail))

    def _error(self, code: int, tail: str) -> JobError:
        if self._killed is Kill.STALLED:
            seconds = self._claimed.record.execution.stall_timeout_seconds
            status = self._last_signs.status
            message = stall_message(seconds, status.step, status.phase)
            return JobError("STALLED", message, tail)
        if self._killed is Kill.NODE_LOST:
            place, nodes = self._places.lost, self._claimed.record.execution.nodes
            message = (
                f"the worker with place {place} of the job's {nodes} (counted from 0) has lost its "
                "processes, or shows no sign of life"
            )
            return JobError("WORKER_LOST", message, tail)
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
            return JobError("TRAINER_DIED", f"the trainer was ended by {name}{hint}", tail)
        return JobError("TRAINER_DIED", f"the trainer exited with code {code}", tail)


def _passed(deadline: float | None, now: float) -> bool:
    return deadline is not None and now >= deadline


def kill_group(pid: int) -> None:
    """Kill all processes of a group, if there is one."""
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
