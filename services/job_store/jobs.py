"""Jobs as the control plane sees them: create, read, list, stop, resume, delete."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.connection import AsyncConnection
from job_store.records import (
    CheckpointPage,
    CheckpointRecord,
    JobPage,
    JobRecord,
    JobStatus,
    NewJob,
    QueuedAttempt,
    Request,
)


class JobStore:
    """Job records in Redis; every mutation is one atomic script and idempotent by its Request."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def create(self, new: NewJob, request: Request | None = None) -> JobRecord:
        """Store a QUEUED job with attempt 1, lacking its queue message. RequestIdReused."""
        raise NotImplementedError

    async def get(self, job_id: str, *, with_config: bool = True) -> JobRecord:
        """The record. NotFound, RecordVersionError."""
        raise NotImplementedError

    async def list(
        self, status: JobStatus | None = None, page_size: int = 50, page_token: str = ""
    ) -> JobPage:
        """Newest first, without config documents; costs O(page). InvalidPageToken."""
        raise NotImplementedError

    async def count(self, status: JobStatus | None = None) -> int:
        """How many jobs are in this state (all without one)."""
        raise NotImplementedError

    async def request_stop(self, job_id: str, request: Request | None = None) -> JobRecord:
        """QUEUED becomes STOPPED, RUNNING becomes STOPPING, STOPPING stays. TransitionRefused."""
        raise NotImplementedError

    async def resume(
        self,
        job_id: str,
        *,
        checkpoint_id: str | None = None,
        max_steps: int | None = None,
        config_document: str | None = None,
        request: Request | None = None,
    ) -> JobRecord:
        """Queue attempt + 1 from a checkpoint (default: the newest registered one).

        Cuts the history there and supersedes later checkpoints in the same transaction.
        `config_document` replaces the stored one (it holds `max_steps` too).
        TransitionRefused, NotFound (job, checkpoint), RequestIdReused.
        """
        raise NotImplementedError

    async def delete(self, job_id: str, request: Request | None = None) -> None:
        """Remove a job that is not RUNNING or STOPPING and all its keys."""
        raise NotImplementedError

    async def jobs_lacking_message(self, limit: int = 100) -> Sequence[QueuedAttempt]:
        """Queued attempts whose message was not yet handed to the queue, oldest first."""
        raise NotImplementedError

    async def mark_enqueued(self, job_id: str, attempt: int) -> None:
        """The message of this attempt is in the queue. A stale attempt changes nothing."""
        raise NotImplementedError

    async def request_message(self, job_id: str, attempt: int) -> bool:
        """Ask for the message again (it was lost); False if the attempt no longer waits."""
        raise NotImplementedError

    async def list_checkpoints(
        self, job_id: str, page_size: int = 100, page_token: str = ""
    ) -> CheckpointPage:
        """Registered, not superseded, not deleted; ascending by step."""
        raise NotImplementedError

    async def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord:
        """One checkpoint. NotFound."""
        raise NotImplementedError

    async def delete_checkpoint(self, checkpoint_id: str, request: Request | None = None) -> None:
        """Remove it from the registry of a job that is not RUNNING or STOPPING."""
        raise NotImplementedError

    async def retired_checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Superseded ones whose files may be removed; see `forget_checkpoint`."""
        raise NotImplementedError

    async def forget_checkpoint(self, job_id: str, checkpoint_id: str) -> None:
        """The files of a retired checkpoint are gone: drop its record too."""
        raise NotImplementedError
