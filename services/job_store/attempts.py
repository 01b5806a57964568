"""Attempts as a worker sees them (synchronous): claim, lease, publish, checkpoints, finish.

Every write carries the FencingToken of the claim and raises Fenced where it is stale.
Everything may be repeated after a broken connection: repetitions change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from job_store.connection import Connection
from job_store.records import (
    AttemptRecord,
    CheckpointRecord,
    Claimed,
    FencingToken,
    JobError,
    JobRecord,
    LogLine,
    MetricPoint,
    Outcome,
    Phase,
    Signals,
)


class AttemptStore:
    """What workers write."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def get(self, job_id: str) -> JobRecord:
        """The job's record. NotFound, RecordVersionError."""
        raise NotImplementedError

    def claim(
        self, job_id: str, attempt: int, worker_id: str, claim_id: str | None = None
    ) -> Claimed | None:
        """Take a queued attempt; None for any duplicate, stale, stopped or deleted one.

        Cuts the history at the newest registered checkpoint. RecordVersionError where the record
        cannot be read (report it with `reject`).
        """
        raise NotImplementedError

    def reject(self, job_id: str, attempt: int, error: JobError) -> bool:
        """QUEUED becomes FAILED; False if the attempt does not wait any more."""
        raise NotImplementedError

    def confirm_start(self, token: FencingToken, step: int, notes: Sequence[str] = ()) -> None:
        """The attempt really starts after `step` (0: afresh), once its checkpoint is loaded.

        Needed before the first point. Where the step is lower than the registry's (a damaged
        checkpoint), cuts the history there and supersedes the later checkpoints.
        `notes` say why the run is no longer bitwise, if so.
        """
        raise NotImplementedError

    def renew_lease(self, token: FencingToken) -> Signals:
        """Count the lease up (every 3 s, from outside the trainer). Fenced."""
        raise NotImplementedError

    def report_progress(
        self, token: FencingToken, step: int, phase: Phase, tokens_seen: int = 0
    ) -> Signals:
        """Last executed step and what the trainer does, without metrics. Fenced."""
        raise NotImplementedError

    def publish_metrics(
        self,
        token: FencingToken,
        points: Sequence[MetricPoint],
        *,
        of_attempt: int | None = None,
    ) -> Signals:
        """Append points, in order. Those already there are counted as delivered. Fenced.

        `of_attempt`: publish what an earlier attempt's stream lacks, up to its `end_step`
        (points beyond it are dropped and counted as delivered). To be done before the first own
        point. See `attempts()` for what each stream holds.
        """
        raise NotImplementedError

    def append_logs(
        self, token: FencingToken, lines: Sequence[LogLine], *, of_attempt: int | None = None
    ) -> Signals:
        """Append log lines, in order of `seq`. Same rules as `publish_metrics`."""
        raise NotImplementedError

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """All attempts that were claimed, oldest first, with what their streams hold."""
        raise NotImplementedError

    def register_checkpoint(self, token: FencingToken, record: CheckpointRecord) -> None:
        """Register a complete checkpoint, after its metrics were published. Fenced."""
        raise NotImplementedError

    def unregister_checkpoint(self, token: FencingToken, checkpoint_id: str) -> bool:
        """Drop it from the registry, before its files are removed; False if it was not there."""
        raise NotImplementedError

    def checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Registered checkpoints, ascending by step."""
        raise NotImplementedError

    def retired_checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Superseded ones whose files may be removed."""
        raise NotImplementedError

    def finish(self, token: FencingToken, outcome: Outcome) -> JobRecord:
        """End the attempt, after everything was published. Fenced, TransitionRefused.

        The state table decides; the record returned says where the job went.
        """
        raise NotImplementedError
