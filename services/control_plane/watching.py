"""Follows a job: sends the store's feed as messages until the job or this process ends."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from control_plane.conversion import (
    checkpoint_message,
    job_message,
    log_line_message,
    point_message,
)
from control_plane.state import ServiceState
from job_store.events import (
    AlertEvent,
    CheckpointEvent,
    LogEvent,
    MetricsEvent,
    RewoundEvent,
    StateEvent,
)
from job_store.records import JobRecord
from job_store.streams import FeedItem
from training_engine.v1 import job_pb2, metrics_pb2

_ENDS = {
    "lost": "lost its worker",
    "crashed": "ended early",
    "handed_back": "was handed back by its worker",
}
"""Unrequested ends of an attempt, in the words of the rewind that follows."""


async def watch_job(
    state: ServiceState, job_id: str, after: str, after_step: int | None
) -> AsyncIterator[job_pb2.WatchJobResponse]:
    """Yield everything that happened after the cursor, then each new event until the job ends.

    Points up to `after_step` are left out, until a rewind brings them again.
    """
    watch = state.feeds.watch(job_id, after=after or None, after_step=after_step)
    async with aclosing(_as_generator(watch)) as items:
        async for item in items:
            yield await _watch_response(state, job_id, item)


async def _watch_response(
    state: ServiceState, job_id: str, item: FeedItem
) -> job_pb2.WatchJobResponse:
    event, cursor = item.event, item.cursor
    if isinstance(event, MetricsEvent):
        return job_pb2.WatchJobResponse(cursor=cursor, metrics=_point(event))
    if isinstance(event, LogEvent):
        return job_pb2.WatchJobResponse(cursor=cursor, log=log_line_message(event.line))
    if isinstance(event, CheckpointEvent):
        checkpoint = checkpoint_message(event.checkpoint)
        return job_pb2.WatchJobResponse(cursor=cursor, checkpoint=checkpoint)
    if isinstance(event, RewoundEvent):
        return job_pb2.WatchJobResponse(cursor=cursor, rewound=_rewind(event))
    if isinstance(event, AlertEvent):
        (alert,) = await state.alert_messages(job_id, [event.alert])
        return job_pb2.WatchJobResponse(cursor=cursor, alert=alert)
    record = await state.jobs.get(job_id, with_config=False)
    return job_pb2.WatchJobResponse(cursor=cursor, state=job_message(_as_of(record, event)))


def _as_of(record: JobRecord, event: StateEvent) -> JobRecord:
    """Return the record as of the event: a replayed state must not show later values."""
    return dataclasses.replace(
        record,
        status=event.status,
        attempt=event.attempt,
        current_step=event.step,
        updated_at=event.time_ms,
        completed_at=event.time_ms if event.status.is_terminal else None,
        error=event.error,
        message=event.message,
        running_ms=event.running_ms,
        eta_seconds=None,
    )


def _rewind(event: RewoundEvent) -> job_pb2.Rewind:
    reason = f"attempt {event.attempt} continues from step {event.to_step}"
    if end := _ENDS.get(event.after):
        reason = f"attempt {event.attempt - 1} {end}; {reason}"
    return job_pb2.Rewind(to_step=event.to_step, attempt=event.attempt, reason=reason)


def _point(event: MetricsEvent) -> metrics_pb2.MetricPoint:
    return point_message(event.step, event.attempt, event.time_ms, event.values)


async def stream_metrics(
    state: ServiceState, job_id: str, after: str | None, after_step: int | None
) -> AsyncIterator[metrics_pb2.StreamMetricsResponse]:
    """Yield each logged step once, and rewinds."""
    watch = state.feeds.watch(job_id, after=after, after_step=after_step, logs=False)
    async with aclosing(_as_generator(watch)) as items:
        async for item in items:
            event, cursor = item.event, item.cursor
            if isinstance(event, MetricsEvent):
                yield metrics_pb2.StreamMetricsResponse(cursor=cursor, point=_point(event))
            elif isinstance(event, RewoundEvent):
                yield metrics_pb2.StreamMetricsResponse(
                    cursor=cursor, rewound_to_step=event.to_step
                )


def _as_generator(items: AsyncIterator[FeedItem]) -> AsyncGenerator[FeedItem]:
    """Return the feed as a generator, so that it can be closed.

    A feed that is not closed is read on until it is garbage-collected.
    """
    return cast("AsyncGenerator[FeedItem]", items)
