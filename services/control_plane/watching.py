"""Follows a job: what the store's feed tells, as messages, until the job or this process ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

from control_plane.conversion import (
    checkpoint_message,
    job_message,
    log_line_message,
    point_message,
)
from control_plane.state import ServiceState
from job_store.records import JobRecord
from job_store.streams import (
    CheckpointEvent,
    FeedItem,
    LogEvent,
    MetricsEvent,
    RewoundEvent,
    StateEvent,
)
from training_engine.v1 import job_pb2, metrics_pb2


async def watch_job(
    state: ServiceState, job_id: str, after: str
) -> AsyncIterator[job_pb2.WatchJobResponse]:
    """Everything that happened after the cursor, then what happens; ends when the job does."""
    async with aclosing(_as_generator(state.feeds.watch(job_id, after=after or None))) as items:
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
    record = await state.jobs.get(job_id, with_config=False)
    return job_pb2.WatchJobResponse(cursor=cursor, state=job_message(_as_of(record, event)))


def _as_of(record: JobRecord, event: StateEvent) -> JobRecord:
    """The record as it stood at the event: replayed states must not show what came later."""
    return dataclasses.replace(
        record,
        status=event.status,
        attempt=event.attempt,
        current_step=event.step,
        updated_at=event.time_ms,
        completed_at=event.time_ms if event.status.is_terminal else None,
        error=event.error,
        message=event.message,
    )


def _rewind(event: RewoundEvent) -> job_pb2.Rewind:
    reason = f"attempt {event.attempt} continues from step {event.to_step}"
    return job_pb2.Rewind(to_step=event.to_step, attempt=event.attempt, reason=reason)


def _point(event: MetricsEvent) -> metrics_pb2.MetricPoint:
    return point_message(event.step, event.attempt, event.time_ms, event.values)


async def stream_metrics(
    state: ServiceState, job_id: str, after: str | None, after_step: int | None
) -> AsyncIterator[metrics_pb2.StreamMetricsResponse]:
    """Each logged step once, with what its evaluation added, and rewinds."""
    record = await state.jobs.get(job_id)
    watch = state.feeds.watch(job_id, after=after, after_step=after_step, logs=False)
    async with aclosing(_as_generator(watch)) as items:
        async for response in _merge_parts(items, _evaluation_expected(record)):
            yield response


def _as_generator(items: AsyncIterator[FeedItem]) -> AsyncGenerator[FeedItem]:
    """What a feed really is: it has to be closed, or its reader goes on until it is collected."""
    return cast("AsyncGenerator[FeedItem]", items)


async def _merge_parts(
    items: AsyncIterator[FeedItem], evaluation_expected: Callable[[int], bool]
) -> AsyncIterator[metrics_pb2.StreamMetricsResponse]:
    """An evaluation's metrics come after the step's own and belong to the same point.

    So a step that is about to be evaluated is held back until its evaluation, or anything else,
    follows: readers see each step once.
    """
    held: metrics_pb2.StreamMetricsResponse | None = None
    async for item in items:
        event = item.event
        if isinstance(event, MetricsEvent):
            if held is not None and held.point.step == event.step:
                held.point.MergeFrom(_point(event))
                held.cursor = item.cursor
                yield held
                held = None
                continue
            if held is not None:
                yield held
            held = metrics_pb2.StreamMetricsResponse(cursor=item.cursor, point=_point(event))
            if event.part > 0 or not evaluation_expected(event.step):
                yield held
                held = None
            continue
        if held is not None:
            yield held
            held = None
        if isinstance(event, RewoundEvent):
            yield metrics_pb2.StreamMetricsResponse(
                cursor=item.cursor, rewound_to_step=event.to_step
            )
    if held is not None:
        yield held


def _evaluation_expected(record: JobRecord) -> Callable[[int], bool]:
    config = json.loads(record.config_document)
    has_data = bool(record.val_dataset_path) or config.get("val_fraction", 0) > 0
    every = config.get("eval_steps") or 1
    return lambda step: has_data and (step % every == 0 or step >= record.max_steps)
