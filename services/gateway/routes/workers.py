"""The processes that train."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from gateway.codec import page_to_json
from gateway.routes.declare import CallerOf, answer, problems, router, rpc
from gateway.schemas.base import PageQuery
from gateway.schemas.workers import WorkerPage
from training_engine.v1 import worker_pb2

routes = router("workers")


@routes.get(
    "/workers",
    response_model=WorkerPage,
    responses=problems(),
    openapi_extra=rpc("WorkerService.ListWorkers"),
)
async def list_workers(page: Annotated[PageQuery, Query()], caller: CallerOf) -> Response:
    """Workers that were heard of lately."""
    request = worker_pb2.ListWorkersRequest(page_size=page.page_size, page_token=page.page_token)
    return answer(
        page_to_json(await caller.call(caller.control_plane.workers.ListWorkers, request))
    )
