"""The visible metric history: latest values, pages of points, charts from summaries."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.connection import AsyncConnection
from job_store.records import AttemptRecord, Bucket, HistoryPage, LatestMetrics, LogPage


class HistoryStore:
    """Reads what attempts published, each logged step once."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def latest(self, job_id: str) -> LatestMetrics:
        """Latest value of each metric. NotFound."""
        raise NotImplementedError

    async def page(
        self,
        job_id: str,
        *,
        after_step: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        page_size: int = 1000,
        page_token: str = "",
    ) -> HistoryPage:
        """Raw points in ascending order. NotFound, InvalidPageToken."""
        raise NotImplementedError

    async def chart(
        self,
        job_id: str,
        max_points: int,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
    ) -> Sequence[Bucket]:
        """The history in at most `max_points` buckets that keep minimum, maximum and last."""
        raise NotImplementedError

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """The job's attempts and the steps that readers see of each."""
        raise NotImplementedError

    async def logs(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        page_size: int = 1000,
        page_token: str = "",
    ) -> LogPage:
        """Log lines of all attempts (or one), oldest first. NotFound, InvalidPageToken."""
        raise NotImplementedError

    async def log_tail(self, job_id: str, lines: int = 50) -> str:
        """The last lines of the newest attempt that wrote any."""
        raise NotImplementedError
