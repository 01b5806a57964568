"""WorkerService: lists the processes that train."""

from __future__ import annotations

from typing import Any

import grpc

from control_plane.conversion import worker_message
from control_plane.paging import page_size
from control_plane.state import ServiceState
from training_engine.v1 import worker_pb2, worker_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
_LIST = ("workers", "all")


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """See `worker.proto`."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: _Context
    ) -> worker_pb2.ListWorkersResponse:
        size = page_size(request.page_size)
        token = request.page_token
        after = await self._state.tokens.position(token, *_LIST) if token else ""
        rest = [w for w in await self._state.workers.list() if w.worker_id > after]
        page, token = rest[:size], ""
        if len(rest) > size:
            codec = await self._state.tokens.codec()
            token = codec.encode(*_LIST, page[-1].worker_id)
        return worker_pb2.ListWorkersResponse(
            workers=[worker_message(record) for record in page], next_page_token=token
        )
