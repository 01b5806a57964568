"""A job's metrics: the latest, the history, the speed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from gateway.codec import page_to_json
from gateway.routes.declare import CallerOf, answer, problems, router, rpc
from gateway.schemas.metrics import History, HistoryQuery, Metrics, Throughput
from training_engine.messages import message_to_plain
from training_engine.v1 import metrics_pb2

routes = router("metrics")


@routes.get(
    "/jobs/{job_id}/metrics",
    response_model=Metrics,
    responses=problems(404),
    openapi_extra=rpc("MetricsService.GetMetrics"),
)
async def get_metrics(job_id: str, caller: CallerOf) -> Response:
    """The latest value of each metric; 404 (metrics_not_found) before the first logged step."""
    request = metrics_pb2.GetMetricsRequest(job_id=job_id)
    latest = await caller.call(caller.control_plane.metrics.GetMetrics, request)
    return answer({"job_id": job_id, **message_to_plain(latest.metrics)})


@routes.get(
    "/jobs/{job_id}/metrics/history",
    response_model=History,
    responses=problems(404),
    openapi_extra=rpc("MetricsService.ListMetrics"),
)
async def list_metrics(
    job_id: str, query: Annotated[HistoryQuery, Query()], caller: CallerOf
) -> Response:
    """Logged steps, ascending, each once; in full by pages, or downsampled by `max_points`."""
    request = metrics_pb2.ListMetricsRequest(job_id=job_id, **query.model_dump(exclude_none=True))
    listed = await caller.call(caller.control_plane.metrics.ListMetrics, request)
    return answer({"job_id": job_id, **page_to_json(listed)})


@routes.get(
    "/jobs/{job_id}/throughput",
    response_model=Throughput,
    responses=problems(404),
    openapi_extra=rpc("MetricsService.GetThroughput"),
)
async def get_throughput(job_id: str, caller: CallerOf) -> Response:
    """How fast the job trains, over its latest logging interval."""
    request = metrics_pb2.GetThroughputRequest(job_id=job_id)
    speed = await caller.call(caller.control_plane.metrics.GetThroughput, request)
    return answer({"job_id": job_id, **message_to_plain(speed)})
