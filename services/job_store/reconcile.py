"""Primitives of the reconciler: what runs, what waits, declaring a lease lost, leadership."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.connection import AsyncConnection
from job_store.records import JobError, JobRecord, QueuedAttempt, RunningAttempt


class ReconcileStore:
    """What only the reconciler does; the timing decisions are its own."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def running_attempts(self) -> Sequence[RunningAttempt]:
        """All claimed attempts (RUNNING and STOPPING), with their lease counters."""
        raise NotImplementedError

    async def queued_attempts(self, limit: int = 1000) -> Sequence[QueuedAttempt]:
        """Attempts that wait, oldest first, to compare with what the queue holds."""
        raise NotImplementedError

    async def declare_lost(
        self, job_id: str, attempt: int, claim_id: str, error: JobError
    ) -> JobRecord | None:
        """End an attempt whose worker is gone; None if that claim is no longer the current one.

        RUNNING becomes QUEUED with attempt + 1, or FAILED once the retries are spent; STOPPING
        becomes STOPPED at its last registered checkpoint.
        """
        raise NotImplementedError

    async def reject(self, job_id: str, attempt: int, error: JobError) -> bool:
        """QUEUED becomes FAILED; False if the attempt does not wait any more."""
        raise NotImplementedError

    async def acquire_leadership(self, owner: str, ttl_seconds: float) -> bool:
        """Become the leader, or stay it; False while another owner holds the lock."""
        raise NotImplementedError

    async def release_leadership(self, owner: str) -> None:
        """Let another one lead at once; nothing happens if `owner` does not hold the lock."""
        raise NotImplementedError

    async def server_time(self) -> int:
        """Redis TIME in milliseconds."""
        raise NotImplementedError
