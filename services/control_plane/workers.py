"""WorkerService: lists the processes that train."""

from __future__ import annotations

from typing import Any

import grpc

from control_plane.conversion import worker_message
from control_plane.paging import page_size
from control_plane.state import ServiceState
from job_store.errors import InvalidPageTokenError
from training_engine.v1 import worker_pb2, worker_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
_TOKEN = ("workers", "all")


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """See `worker.proto`."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: _Context
    ) -> worker_pb2.ListWorkersResponse:
        size = page_size(request.page_size)
        after = await self._position(request.page_token) if request.page_token else ""
        rest = [w for w in await self._state.workers.list() if w.worker_id > after]
        page, token = rest[:size], ""
        if len(rest) > size:
            codec = await self._state.tokens.codec()
            token = codec.encode(*_TOKEN, page[-1].worker_id)
        return worker_pb2.ListWorkersResponse(
            workers=[worker_message(record) for record in page], next_page_token=token
        )

    async def _position(self, token: str) -> str:
        try:
            (worker_id,) = await self._state.tokens.decode(token, *_TOKEN)
        except ValueError as error:
            raise InvalidPageTokenError(token, str(error)) from error
        return worker_id
