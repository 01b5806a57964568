"""Publishes what an attempt does to the job store, from a thread of its own.

Training appends to files and to a short list of saved checkpoints; this thread reads them and
retries for as long as the store is away, so training never waits for it. The order is what makes
history exact: a checkpoint is registered after its metrics are on disk and delivered, so a job
never resumes after points that were lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from artifact_store import ArtifactStoreAwayError, GuardedStore, attempt_prefix
from job_store.attempts import AttemptStore
from job_store.durability import DiskWatch
from job_store.errors import FencedError, NotFoundError, StoreUnavailableError
from job_store.history_records import MetricPoint
from job_store.records import CheckpointRecord, Claimed, Phase, PhaseProgress, Signals
from service_runtime.backoff import pause_seconds
from training_worker.archive import PointArchive
from training_worker.board import Board
from training_worker.journal import JobJournal
from training_worker.output import OutputReader
from training_worker.republish import publish_points, republish_missing
from training_worker.retention import Retention
from training_worker.sending import CheckpointSender
from training_worker.spool import SpoolReader, SpoolWriter

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
"""Longest time without a call to the store: its answers bring a stop request."""
_ESTIMATE_SECONDS = 1.0
"""Longest time between two reports of the ETA: points report their step and nothing else."""
_SHORTEST_SECONDS = 0.1
"""Between two rounds. After one that delivered points it is most of `progress_seconds`: a point
that comes alone goes out at once, many a second go out in batches, so that publishing takes little
of the trainer's cores; and the step that readers see is never older than is promised."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_TOLERATED_DEFECTS = 5


class PublishError(RuntimeError):
    """The store keeps refusing, for a reason that waiting does not remove."""


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A durable checkpoint that waits for its registration."""

    record: CheckpointRecord
    spool_end: int
    """Everything in the spool before this is to be delivered first."""


@dataclass(frozen=True, slots=True)
class StartReport:
    """What the attempt reports to the job store once its checkpoint is loaded.

    `ResumePoint` is the choice of a checkpoint before it is loaded; this is what came of it.
    """

    step: int
    """The step of the checkpoint that was loaded; 0 where none was."""
    notes: tuple[str, ...] = ()
    """Each says why the run is not bitwise what it would have been without the interruption."""
    eta: Callable[[], float | None] = lambda: None
    """Seconds to the end of the run; None while unknown."""
    message: str = ""
    """What a person should know about where it starts."""
    data_summary: str = ""
    """What the job trains on, in one line."""
    environment: str = ""
    """What it runs on, in one line."""
    data_warnings: tuple[str, ...] = ()
    """Such as which files are skipped; in the form of `JobRecord.data_warnings`."""


class Publisher(threading.Thread):
    """Publishes one attempt until `drain`.

    Args:
        claimed: the attempt; its token goes with every write.
        store: on a connection of its own that does not retry and announces its renewal.
        disk: on another such connection; says when a retired checkpoint's file may be removed.
        on_stop: called once when the job is asked to stop.
        on_fenced: called when another attempt has taken over; must not return.
    """

    def __init__(
        self,
        claimed: Claimed,
        store: AttemptStore,
        artifacts: GuardedStore,
        spool: SpoolWriter,
        points: SpoolReader,
        output: OutputReader,
        board: Board,
        *,
        disk: DiskWatch,
        keep_checkpoints: int,
        progress_seconds: float,
        on_stop: Callable[[], None],
        on_fenced: Callable[[Exception], None],
    ) -> None:
        super().__init__(name="publisher", daemon=True)
        self._claimed, self._store, self._artifacts = claimed, store, artifacts
        self._spool, self._points, self._output, self._board = spool, points, output, board
        self._archive = PointArchive(store, artifacts, claimed.token)
        token = claimed.token
        prefix = attempt_prefix(token.job_id, token.attempt, token.claim_id)
        self.sender = CheckpointSender(artifacts, prefix, self.wake)
        self._journal = JobJournal(store, artifacts, claimed.token.job_id)
        self._is_journaled = True
        self._retention = Retention(store, disk, artifacts, claimed, keep_checkpoints)
        self._progress_seconds = progress_seconds
        self._on_stop, self._on_fenced = on_stop, on_fenced
        self._checkpoints: deque[SavedCheckpoint] = deque()
        self._registered: list[SavedCheckpoint] = []
        self._must_resync = self._delivered_points = self._waits_for_store = False
        self._wake = threading.Event()
        self._start: StartReport | None = None
        self._confirmed = False
        self._draining = threading.Event()
        self._stop_reported = False
        self._reported: tuple[int, Phase, PhaseProgress] | None = None
        self._pulses = 0
        self._answered_at = self._reported_at = self._estimated_at = time.monotonic()
        self._defect: Exception | None = None

    # -- called by the trainer's thread ----------------------------------------------------

    def begin(self, start: StartReport) -> None:
        """Report the start: the checkpoint is loaded, and points may follow."""
        self._start = start
        self._wake.set()

    def wake(self) -> None:
        """Wake the thread, since there is something new to publish; once a round is enough."""
        if not self._wake.is_set():
            self._wake.set()

    def register(self, record: CheckpointRecord) -> None:
        """Register a durable checkpoint once its metrics are delivered."""
        self._checkpoints.append(SavedCheckpoint(record, self._spool.end))
        self.sender.send(record.artifact, self._spool.end)
        self._wake.set()

    def drain(self) -> None:
        """Return when everything is delivered, however long the store is away.

        Raises:
            PublishError: The store keeps refusing.
        """
        self._draining.set()
        self._wake.set()
        self.join()
        self._check()

    def deliver_again(self) -> None:
        """After `drain`: check that the store still has everything, and deliver what it lost.

        Runs in the caller's thread, since the publisher's own has ended.

        Raises:
            PublishError: The store keeps refusing.
        """
        self._must_resync = True
        self._wake.set()
        self._publish_until_drained()
        self._check()

    def _check(self) -> None:
        if self._defect is not None:
            raise PublishError(f"publishing failed: {self._defect}") from self._defect

    # -- the thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Publish until `drain` is called and everything is delivered."""
        self._publish_until_drained()

    def _publish_until_drained(self) -> None:
        failures, defects, next_round = 0, 0, 0.0
        while True:
            self._wake.wait(timeout=self._progress_seconds)
            if (early := next_round - time.monotonic()) > 0:
                self._draining.wait(timeout=early)
            began = time.monotonic()
            last_round = self._draining.is_set()
            self._wake.clear()
            self._delivered_points = False
            try:
                self._publish(final=last_round)
            except (FencedError, NotFoundError) as error:
                self._on_fenced(error)
                return
            except (StoreUnavailableError, ArtifactStoreAwayError) as error:
                if failures == 0:
                    logger.warning("publishing waits: %s", error)
                failures += 1
                self._wait_out(failures)
            except PublishError as error:
                self._defect = error
                return
            except Exception as error:
                logger.exception("publishing failed; trying again")
                failures, defects = failures + 1, defects + 1
                if defects >= _TOLERATED_DEFECTS:
                    self._defect = error
                    self._on_stop()
                    return
                self._wait_out(failures)
            else:
                failures, defects = 0, 0
                if last_round and self._waits_for_store:
                    time.sleep(_LONGEST_PAUSE)
                    self._wake.set()
                elif last_round and self._checkpoints:  # the newest is still sent
                    time.sleep(_SHORTEST_SECONDS)
                    self._wake.set()
                elif last_round:
                    return
            pause = self._progress_seconds * 0.8 if self._delivered_points else _SHORTEST_SECONDS
            next_round = began + pause

    def _wait_out(self, failures: int) -> None:
        """Sleep, even if `wake` is called meanwhile: an outage must not become a busy loop."""
        self._must_resync = True
        time.sleep(pause_seconds(failures, _FIRST_PAUSE, _LONGEST_PAUSE))
        self._wake.set()

    def _publish(self, *, final: bool) -> None:
        if self._must_resync:
            self._recover()
        if not self._confirmed and self._start is not None:
            self._confirm(self._start)
        if self._confirmed:
            self._publish_points()
        self._publish_output(final=final)
        self._report_progress(final=final)

    def _confirm(self, start: StartReport) -> None:
        said = (start.notes, start.data_summary, start.data_warnings, start.environment)
        self._store.confirm_start(self._claimed.token, start.step, *said)
        self._is_journaled = False
        if start.message:
            self._store.note(self._claimed.token, start.message)
        republish_missing(
            self._store, self._artifacts, self._claimed, start.step, self._archive.published
        )
        self._confirmed = True

    def _recover(self) -> None:
        """Go back to the first point, line and checkpoint that the store does not hold.

        A server that lost power or failed over may have forgotten its last seconds, although it had
        answered.
        """
        token = self._claimed.token
        for mine in self._store.attempts(token.job_id):
            if mine.attempt == token.attempt:
                step = -1 if mine.last_step is None else mine.last_step
                self._points.seek_behind(step)
                self._output.rewind(0 if mine.last_log_seq is None else mine.last_log_seq + 1)
                # Without a point of this attempt, points that completed earlier attempts may be
                # lost as well: confirming the start again delivers them.
                self._confirmed = self._confirmed and mine.last_step is not None
        stored_ids = {record.checkpoint_id for record in self._store.checkpoints(token.job_id)}
        lost = [one for one in self._registered if one.record.checkpoint_id not in stored_ids]
        self._registered = [saved for saved in self._registered if saved not in lost]
        # A checkpoint whose file is gone was retired, and only the store's answer to that was lost.
        self._checkpoints.extendleft(reversed([saved for saved in lost if self._has_file(saved)]))
        self._reported = None
        self._must_resync = False

    def _has_file(self, saved: SavedCheckpoint) -> bool:
        return self._artifacts.holds(saved.record.artifact, saved.record.size_bytes)

    def _publish_points(self) -> None:
        self._record_in_journal()
        # The journal is to name no checkpoint whose file is gone, but a full disk needs the room.
        if self._is_journaled or self._journal.is_full:
            self._retention.remove_files()
        self._register_due()
        while True:
            points, end = self._points.peek()
            if end == self._points.offset:
                return
            self._deliver(points)
            self._points.advance(end)
            self._register_due()
            self._archive.published(len(points))
            if end >= self._spool.end:
                return

    def _deliver(self, points: Sequence[MetricPoint]) -> None:
        assert self._start is not None, "begin() comes before the first point"
        token = self._claimed.token
        self._read_signals(
            publish_points(self._store, token, token.attempt, self._start.step, points)
        )
        self._delivered_points = True
        if points and self._reported is not None:  # the points have reported their step
            self._reported = points[-1].step, *self._reported[1:]
            self._reported_at = self._answered_at

    def _register_due(self) -> None:
        """Register checkpoints whose points are delivered; while the store is away, they wait."""
        try:
            self._register_delivered()
        except ArtifactStoreAwayError as error:
            if not self._waits_for_store:
                logger.warning("a checkpoint waits for its registration: %s", error)
            self._waits_for_store = True
        else:
            self._waits_for_store = False
        self._record_in_journal()

    def _record_in_journal(self) -> None:
        """Write the job into the journal if its checkpoints have changed since."""
        if not self._is_journaled:
            self._is_journaled = self._journal.record()

    def _register_delivered(self) -> None:
        while self._checkpoints and self._is_due(self._checkpoints[0]):
            self._artifacts.require()
            if not self._has_file(self._checkpoints[0]):
                self._give_up(self._checkpoints.popleft())
                continue
            self._spool.sync()
            record = self._checkpoints[0].record
            self._store.register_checkpoint(self._claimed.token, record)
            logger.info("checkpoint %s of step %d", record.checkpoint_id, record.step)
            self._registered.append(self._checkpoints.popleft())
            self._is_journaled = False
            retired = self._retention.retire_surplus()
            self._registered = [
                s for s in self._registered if s.record.checkpoint_id not in retired
            ]

    def _is_due(self, saved: SavedCheckpoint) -> bool:
        """Whether the points before the checkpoint are delivered, and the store has its file."""
        delivered = saved.spool_end <= self._points.offset
        return delivered and self.sender.has_sent(saved.record.artifact)

    def _give_up(self, saved: SavedCheckpoint) -> None:
        """Give up a checkpoint that was saved in another folder while the store was away."""
        step = saved.record.step
        logger.error("the checkpoint of step %d is not in the store: it is given up", step)
        if self._draining.is_set() and not self._checkpoints:
            raise PublishError(f"the last checkpoint, step {step}, is not in the artifact store")

    def _publish_output(self, *, final: bool) -> None:
        while lines := self._output.peek(final=final):
            self._read_signals(self._store.append_logs(self._claimed.token, lines))
            self._output.advance()

    def _report_progress(self, *, final: bool) -> None:
        step, phase, tokens_seen, done = self._board.read()
        pulses, now = self._board.pulses, time.monotonic()
        changed = (step, phase, done) != self._reported
        if self._is_report_due(now, changed=changed, pulsed=pulses != self._pulses, final=final):
            eta = self._start.eta() if self._start is not None else None
            progress = (step, phase, tokens_seen, pulses, done, eta)
            self._read_signals(self._store.report_progress(self._claimed.token, *progress))
            self._reported, self._pulses = (step, phase, done), pulses
            self._reported_at = self._estimated_at = now

    def _is_report_due(self, now: float, *, changed: bool, pulsed: bool, final: bool) -> bool:
        """Whether to report now: a change soon, a sign of life, the ETA and a poll less often."""
        if self._reported is None:
            return True
        since_report = now - self._reported_at
        if changed and (final or since_report >= self._progress_seconds * 0.9):
            return True
        if pulsed and since_report >= _POLL_SECONDS:
            return True
        unanswered = now - self._answered_at >= _POLL_SECONDS
        return unanswered or now - self._estimated_at >= _ESTIMATE_SECONDS

    def _read_signals(self, signals: Signals) -> None:
        """Call `on_stop` at the first answer of the store that carries a stop request."""
        self._answered_at = time.monotonic()
        if signals.stop_requested and not self._stop_reported:
            self._stop_reported = True
            self._on_stop()
