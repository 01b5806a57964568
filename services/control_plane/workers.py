"""WorkerService: the processes that train."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import grpc

from control_plane.conversion import worker_message
from control_plane.paging import page_size
from control_plane.state import ServiceState
from job_store.errors import InvalidPageToken
from training_engine.v1 import worker_pb2, worker_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
_TOKEN_KIND = "workers after "


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """See `worker.proto`."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    async def ListWorkers(
        self, request: worker_pb2.ListWorkersRequest, context: _Context
    ) -> worker_pb2.ListWorkersResponse:
        size = page_size(request.page_size)
        after = _read_token(request.page_token) if request.page_token else ""
        rest = [w for w in await self._state.workers.list() if w.worker_id > after]
        page = rest[:size]
        return worker_pb2.ListWorkersResponse(
            workers=[worker_message(record) for record in page],
            next_page_token=_token(page[-1].worker_id) if len(rest) > size else "",
        )


def _token(worker_id: str) -> str:
    return base64.urlsafe_b64encode((_TOKEN_KIND + worker_id).encode()).decode()


def _read_token(token: str) -> str:
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith(_TOKEN_KIND):
        raise InvalidPageToken(token, "it is not from a list of workers")
    return text.removeprefix(_TOKEN_KIND)
