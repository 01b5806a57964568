"""POST /datasets: a file is streamed to the control plane while it arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import grpc
from fastapi import Query, Request, Response
from starlette.requests import ClientDisconnect

from gateway.contract import route
from gateway.guard import drained
from gateway.problems import ProblemError
from gateway.routes.declare import (
    CallerOf,
    IdempotencyKey,
    answer,
    problems,
    router,
    rpc,
)
from gateway.schemas.shapes import answer_of
from gateway.schemas.shapes import query as query_of
from training_engine.call_status import FirstStatus
from training_engine.errors import FieldProblem
from training_engine.v1 import dataset_pb2

routes = router("datasets")

_ROUTE = route("DatasetService.UploadDataset")

_CHUNK_BYTES = 512 << 10
_REFUSAL_SECONDS = 2.0
"""How long to wait until the control plane has refused an upload that broke off."""
_CLIENT_CLOSED_REQUEST = 499
"""The status that logs show for a client that left; nginx uses it, too."""


class UploadQuery(query_of(dataset_pb2.DatasetHeader.DESCRIPTOR)):  # type: ignore[misc]
    """What is about to be uploaded."""


@routes.post(
    _ROUTE.path,
    status_code=_ROUTE.status,
    response_model=answer_of(_ROUTE),
    responses=problems(409, 413, 507),
    openapi_extra={
        **rpc(_ROUTE.rpc),
        "requestBody": {
            "required": True,
            "description": "The file itself, as `curl -X POST -T FILE` sends it.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def upload_dataset(
    request: Request,
    query: Annotated[UploadQuery, Query()],
    caller: CallerOf,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Store a file, streamed as it arrives. Jobs name it as `dataset://ID`."""
    _refuse_forms(request)
    header = dataset_pb2.DatasetHeader(**query.model_dump(), request_id=idempotency_key)
    try:
        stored = await _upload(caller, header, request)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    plain = _ROUTE.answer(stored, {})
    return answer(plain, _ROUTE.status, Location=_ROUTE.location(plain))


def _refuse_forms(request: Request) -> None:
    if request.headers.get("content-type", "").startswith("multipart/"):
        message = "the body is a form; send the file itself, e.g. curl -X POST -T FILE"
        raise ProblemError(message, errors=[FieldProblem("", message)])


async def _upload(
    caller: CallerOf, header: dataset_pb2.DatasetHeader, request: Request
) -> dataset_pb2.UploadDatasetResponse:
    """Send the body as one client stream, and return the answer; a body cut short is not stored."""
    call = caller.control_plane.datasets.UploadDataset(metadata=caller.metadata)
    ended = FirstStatus(call)
    first = dataset_pb2.UploadDatasetRequest(header=header)
    try:
        # A call that has ended refuses writes; its status, read below, says why it ended.
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError):
            await call.write(first)
            async for data in _chunks(request):
                if call.done():  # for example because the file is too large
                    await drained(request.receive)
                    break
                await call.write(dataset_pb2.UploadDatasetRequest(data=data))
            await call.done_writing()
    except Exception:
        await _make_refused(call, first)
        raise
    except BaseException:  # this task is cancelled, and must not wait
        call.cancel()
        raise
    upload: dataset_pb2.UploadDatasetResponse = await ended.answer()
    return upload


async def _make_refused(call: Any, header: dataset_pb2.UploadDatasetRequest) -> None:
    """Make the control plane refuse what it has received so far.

    A grpc.aio server reads the end of a cancelled stream like the end of a complete one, before it
    hears of the cancellation. A second header, which no upload may have, is refused for certain.
    """
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, TimeoutError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            await call.write(header)
            await call
    call.cancel()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces of `_CHUNK_BYTES`; the last one may be shorter."""
    gathered = bytearray()
    async for data in request.stream():
        for start in range(0, len(data), _CHUNK_BYTES):
            gathered += data[start : start + _CHUNK_BYTES]
            if len(gathered) >= _CHUNK_BYTES:
                yield bytes(gathered[:_CHUNK_BYTES])
                del gathered[:_CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)
