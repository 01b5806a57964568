"""The file of a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import grpc
from fastapi import Query, Request, Response

from gateway.contract import route
from gateway.heads import head_only
from gateway.ranges import ByteRange, not_modified, requested_range
from gateway.routes.declare import CallerOf, problems, router, rpc
from gateway.streaming import RelayResponse, StreamBrokenError
from training_engine.v1 import checkpoint_pb2

log = logging.getLogger(__name__)
routes = router("checkpoints")

_ROUTE = route("CheckpointService.DownloadCheckpoint")
_FILE = "application/octet-stream"
_BINARY = {"content": {_FILE: {"schema": {"type": "string", "format": "binary"}}}}


@routes.get(
    _ROUTE.path,
    response_class=Response,
    responses={
        200: {"description": "The whole file.", **_BINARY},
        206: {"description": "The range that was asked for.", **_BINARY},
        304: {"description": "If-None-Match names the file as it is."},
        307: {"description": "The file is at Location for a while, where the service is set to."},
        **problems(*_ROUTE.refusals, 416),
    },
    openapi_extra=rpc(_ROUTE.rpc),
)
async def download_checkpoint(
    checkpoint_id: str,
    request: Request,
    caller: CallerOf,
    redirect: Annotated[bool, Query(description="False: never answer with a redirect.")] = True,
) -> Response:
    """Return the file, or a part of it (Range, If-Range), so that a download can be continued."""
    checkpoint = await _find(checkpoint_id, caller)
    headers = _file_headers(checkpoint)
    if not_modified(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # Ranges are defined for GET alone.
    head = head_only(request)
    size = checkpoint.size_bytes
    part = None if head else requested_range(request.headers, size, headers["ETag"])
    byte_range = part or ByteRange(0, size)
    headers["Content-Length"] = str(byte_range.length)
    if part is not None:
        headers["Content-Range"] = part.content_range(size)
    status = 206 if part is not None else 200
    if head or byte_range.length == 0:
        return Response(status_code=status, headers=headers, media_type=_FILE)
    call, first = await _open(checkpoint_id, byte_range, caller, accepts_url=redirect)
    if first is not grpc.aio.EOF and first.url:
        call.cancel()
        secret = {"Location": first.url, "Cache-Control": "no-store"}
        return Response(status_code=307, headers=secret)
    chunks = _relay(call, first, byte_range.length)
    return RelayResponse(chunks, status, headers=headers, media_type=_FILE)


async def _find(checkpoint_id: str, caller: CallerOf) -> checkpoint_pb2.Checkpoint:
    request = checkpoint_pb2.GetCheckpointRequest(checkpoint_id=checkpoint_id)
    response = await caller.call(caller.control_plane.checkpoints.GetCheckpoint, request)
    return response.checkpoint  # type: ignore[no-any-return]


def _file_headers(checkpoint: checkpoint_pb2.Checkpoint) -> dict[str, str]:
    return {
        "ETag": f'"{checkpoint.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="checkpoint_step_{checkpoint.step}.pt"',
    }


async def _open(
    checkpoint_id: str, byte_range: ByteRange, caller: CallerOf, *, accepts_url: bool
) -> tuple[Any, Any]:
    """Return the call that sends the bytes, and its first message.

    Raises:
        AioRpcError: The control plane refuses to send them.
    """
    call = caller.control_plane.checkpoints.DownloadCheckpoint(
        checkpoint_pb2.DownloadCheckpointRequest(
            checkpoint_id=checkpoint_id,
            offset=byte_range.start,
            length=byte_range.length,
            accepts_url=accepts_url,
        ),
        metadata=caller.metadata,
    )
    try:
        return call, await call.read()
    except BaseException:
        call.cancel()
        raise


async def _relay(call: Any, first: Any, length: int) -> AsyncIterator[bytes]:
    """Yield the bytes chunk by chunk; a source that is too short or breaks, breaks the answer."""
    sent = 0
    piece = first
    try:
        while piece is not grpc.aio.EOF:
            sent += len(piece.data)
            if sent > length:
                break
            if piece.data:
                yield piece.data
            piece = await call.read()
    except grpc.aio.AioRpcError as error:
        log.warning("a download broke off after %d bytes: %s", sent, error.details())
        raise StreamBrokenError from None
    finally:
        call.cancel()
    if sent != length:
        log.error("a download had %d bytes instead of %d", sent, length)
        raise StreamBrokenError
