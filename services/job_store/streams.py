"""One merged, resumable view of a job's life, for any number of watchers.

feeds = JobFeeds(connection)
async for item in feeds.watch(job_id, after=cursor):
    ...  # item.event, item.cursor
await feeds.close()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from job_store.connection import AsyncConnection
from job_store.records import CheckpointRecord, JobError, JobStatus, StoredLogLine


@dataclass(frozen=True, slots=True)
class StateEvent:
    """The job changed its state, or a new attempt of it."""

    status: JobStatus
    attempt: int
    time_ms: int
    step: int
    message: str
    error: JobError | None


@dataclass(frozen=True, slots=True)
class MetricsEvent:
    """A point was logged (see MetricPoint for `part`)."""

    attempt: int
    step: int
    part: int
    time_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class CheckpointEvent:
    """A checkpoint was registered."""

    checkpoint: CheckpointRecord


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line of the trainer's output."""

    line: StoredLogLine


@dataclass(frozen=True, slots=True)
class RewoundEvent:
    """What was shown beyond `to_step` is no longer part of the history; it comes again."""

    to_step: int
    attempt: int
    time_ms: int


Event = StateEvent | MetricsEvent | CheckpointEvent | LogEvent | RewoundEvent


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An event and the opaque cursor that continues after it."""

    event: Event
    cursor: str


class JobFeeds:
    """Watches jobs with one Redis reader each, whatever the number of watchers."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    def watch(
        self,
        job_id: str,
        *,
        after: str | None = None,
        after_step: int | None = None,
        logs: bool = True,
    ) -> AsyncIterator[FeedItem]:
        """Replay from the cursor (or the beginning), then live; ends after the terminal state.

        `after_step` starts after this step instead (no earlier metrics are replayed).
        NotFound, InvalidCursor, StoreUnavailable; an outage while live is waited out.
        A cursor past the end of a finished job gives an empty iteration.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End all watches and readers."""
        raise NotImplementedError
