"""MetricsService: the metrics of jobs, read once or streamed as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

from control_plane.conversion import (
    bucket_messages,
    history_message,
    latest_message,
    sample_message,
    sampled_step_message,
)
from control_plane.errors import call_error, invalid_argument
from control_plane.forks import steps_before
from control_plane.paging import LARGEST_LONG_PAGE, long_page_size, page_size
from control_plane.series.answering import answer, read_question
from control_plane.state import Context, Servicer
from control_plane.watching import stream_metrics
from job_store.history import MAX_SAMPLED_STEPS
from job_store.history_records import LatestMetrics
from training_engine.v1 import metrics_pb2, metrics_pb2_grpc


class MetricsServicer(Servicer, metrics_pb2_grpc.MetricsServiceServicer):
    """See `metrics.proto` for what each method promises."""

    async def GetMetrics(
        self, request: metrics_pb2.GetMetricsRequest, context: Context
    ) -> metrics_pb2.GetMetricsResponse:
        latest = await self._latest(request.job_id)
        return metrics_pb2.GetMetricsResponse(metrics=latest_message(latest))

    async def ListSystemMetrics(
        self, request: metrics_pb2.ListSystemMetricsRequest, context: Context
    ) -> metrics_pb2.ListSystemMetricsResponse:
        samples = await self._state.history.system(request.job_id)
        return metrics_pb2.ListSystemMetricsResponse(samples=map(sample_message, samples))

    async def ListSamples(
        self, request: metrics_pb2.ListSamplesRequest, context: Context
    ) -> metrics_pb2.ListSamplesResponse:
        first, last = _steps(request)
        page = await self._state.history.samples(
            request.job_id,
            from_step=first,
            to_step=last,
            page_size=page_size(request.page_size, MAX_SAMPLED_STEPS, MAX_SAMPLED_STEPS),
            page_token=request.page_token,
        )
        job = await self._state.jobs.get(request.job_id) if page.items else None
        prompts = json.loads(job.config_document).get("sample_prompts", []) if job else []
        return metrics_pb2.ListSamplesResponse(
            steps=[sampled_step_message(step, prompts) for step in page.items],
            next_page_token=page.next_page_token,
        )

    async def GetThroughput(
        self, request: metrics_pb2.GetThroughputRequest, context: Context
    ) -> metrics_pb2.GetThroughputResponse:
        latest = await self._latest(request.job_id)
        values = latest.values
        return metrics_pb2.GetThroughputResponse(
            step=latest.step,
            steps_per_second=values.get("steps_per_second"),
            tokens_per_second=values.get("tokens_per_second"),
            tokens_seen=int(values.get("tokens_seen", 0)),
        )

    async def ListMetrics(
        self, request: metrics_pb2.ListMetricsRequest, context: Context
    ) -> metrics_pb2.ListMetricsResponse:
        first, last = _steps(request)
        if request.HasField("max_points"):
            return await self._chart(request)
        page = await self._state.history.page(
            request.job_id,
            after_step=_optional(request, "after_step"),
            from_step=first,
            to_step=last,
            page_size=long_page_size(request.page_size),
            page_token=request.page_token,
        )
        return metrics_pb2.ListMetricsResponse(
            points=[history_message(point) for point in page.points],
            next_page_token=page.next_page_token,
        )

    async def GetSeries(
        self, request: metrics_pb2.GetSeriesRequest, context: Context
    ) -> metrics_pb2.GetSeriesResponse:
        question = read_question(request)
        if question.axis == "lineage_step":
            moved = {each: await steps_before(self._state, each) for each in question.job_ids}
            question = replace(question, axis="step", moved=moved)
        return await self._state.series.compute(question.job_ids, partial(answer, question))

    def StreamMetrics(
        self, request: metrics_pb2.StreamMetricsRequest, context: Context
    ) -> AsyncIterator[metrics_pb2.StreamMetricsResponse]:
        start = request.WhichOneof("start")
        after = request.after if start == "after" else None
        after_step = request.after_step if start == "after_step" else None
        return stream_metrics(self._state, request.job_id, after or None, after_step)

    async def _latest(self, job_id: str) -> LatestMetrics:
        latest = await self._state.history.latest(job_id)
        if latest.values:
            return latest
        raise call_error(
            "METRICS_NOT_FOUND",
            f"job {job_id} has logged no metrics yet; ask again after its first logging_steps",
        )

    async def _chart(
        self, request: metrics_pb2.ListMetricsRequest
    ) -> metrics_pb2.ListMetricsResponse:
        if request.max_points < 2:
            message = (
                f"`max_points` is {request.max_points}; it must be at least 2; try 1000, or leave "
                "it out for every point"
            )
            raise invalid_argument("max_points", message)
        buckets = await self._state.history.chart(
            request.job_id,
            min(request.max_points, LARGEST_LONG_PAGE) // 2,
            from_step=_first_step(request),
            to_step=_optional(request, "to_step"),
        )
        points = [point for bucket in buckets for point in bucket_messages(bucket)]
        return metrics_pb2.ListMetricsResponse(points=points)


def _steps(request: Any) -> tuple[int | None, int | None]:
    """Return `from_step` and `to_step`, None where one is not given.

    Raises:
        RpcError: No step is in that range.
    """
    first, last = _optional(request, "from_step"), _optional(request, "to_step")
    if first is not None and last is not None and first > last:
        message = (
            f"the range from `from_step` {first} to `to_step` {last} is empty; `from_step` must "
            "not be greater than `to_step`"
        )
        raise invalid_argument("from_step", message)
    return first, last


def _optional(request: Any, field: str) -> int | None:
    return getattr(request, field) if request.HasField(field) else None


def _first_step(request: metrics_pb2.ListMetricsRequest) -> int | None:
    """Return the first step to read: `from_step`, or the one after `after_step` if it is later."""
    steps = [
        *([request.after_step + 1] if request.HasField("after_step") else []),
        *([request.from_step] if request.HasField("from_step") else []),
    ]
    return max(steps) if steps else None
