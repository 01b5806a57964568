"""WorkerService: lists the processes that train."""

from __future__ import annotations

from control_plane.conversion import worker_message
from control_plane.paging import page_size
from control_plane.state import Context, Servicer
from training_engine.v1 import worker_pb2, worker_pb2_grpc

_LIST = ("workers", "all")


class WorkerServicer(Servicer, worker_pb2_grpc.WorkerServiceServicer):
    """See `worker.proto`."""

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: Context
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
