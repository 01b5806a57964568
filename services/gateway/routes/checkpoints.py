"""Checkpoints: list, look, download, delete."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import grpc
from fastapi import Query, Request, Response

from gateway.codec import page_to_json
from gateway.heads import head_only
from gateway.ranges import ByteRange, not_modified, requested_range
from gateway.routes.declare import (
    NO_CONTENT,
    CallerOf,
    IdempotencyKey,
    answer,
    problems,
    router,
    rpc,
)
from gateway.schemas.base import PageQuery
from gateway.schemas.checkpoints import Checkpoint, CheckpointPage
from gateway.streaming import BrokenOff, RelayResponse
from training_engine.messages import message_to_plain
from training_engine.v1 import checkpoint_pb2

log = logging.getLogger(__name__)
routes = router("checkpoints")

_FILE = "application/octet-stream"
_BINARY = {"content": {_FILE: {"schema": {"type": "string", "format": "binary"}}}}


@routes.get(
    "/jobs/{job_id}/checkpoints",
    response_model=CheckpointPage,
    responses=problems(404),
    openapi_extra=rpc("CheckpointService.ListCheckpoints"),
)
async def list_checkpoints(
    job_id: str, page: Annotated[PageQuery, Query()], caller: CallerOf
) -> Response:
    """A job's checkpoints, ascending by step."""
    request = checkpoint_pb2.ListCheckpointsRequest(
        job_id=job_id, page_size=page.page_size, page_token=page.page_token
    )
    return answer(
        page_to_json(await caller.call(caller.control_plane.checkpoints.ListCheckpoints, request))
    )


@routes.get(
    "/checkpoints/{checkpoint_id}",
    response_model=Checkpoint,
    responses=problems(404),
    openapi_extra=rpc("CheckpointService.GetCheckpoint"),
)
async def get_checkpoint(checkpoint_id: str, caller: CallerOf) -> Response:
    """One checkpoint."""
    return answer(message_to_plain(await _find(checkpoint_id, caller)))


async def _find(checkpoint_id: str, caller: CallerOf) -> checkpoint_pb2.Checkpoint:
    request = checkpoint_pb2.GetCheckpointRequest(checkpoint_id=checkpoint_id)
    found = await caller.call(caller.control_plane.checkpoints.GetCheckpoint, request)
    return found.checkpoint  # type: ignore[no-any-return]


@routes.delete(
    "/checkpoints/{checkpoint_id}",
    status_code=NO_CONTENT,
    responses=problems(404, 409),
    openapi_extra=rpc("CheckpointService.DeleteCheckpoint"),
)
async def delete_checkpoint(
    checkpoint_id: str, caller: CallerOf, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Delete a checkpoint that no active job would resume from."""
    request = checkpoint_pb2.DeleteCheckpointRequest(
        checkpoint_id=checkpoint_id, request_id=idempotency_key
    )
    await caller.call(caller.control_plane.checkpoints.DeleteCheckpoint, request)
    return Response(status_code=NO_CONTENT)


@routes.get(
    "/checkpoints/{checkpoint_id}/download",
    response_class=Response,
    responses={
        200: {"description": "The whole file.", **_BINARY},
        206: {"description": "The range that was asked for.", **_BINARY},
        304: {"description": "If-None-Match names the file as it is."},
        **problems(404, 416),
    },
    openapi_extra=rpc("CheckpointService.DownloadCheckpoint"),
)
async def download_checkpoint(checkpoint_id: str, request: Request, caller: CallerOf) -> Response:
    """The file. Takes Range and If-Range, so that a broken download can be continued."""
    found = await _find(checkpoint_id, caller)
    headers = _file_headers(found)
    if not_modified(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # Ranges are defined for GET alone.
    head = head_only(request)
    part = None if head else requested_range(request.headers, found.size_bytes, headers["ETag"])
    wanted = part or ByteRange(0, found.size_bytes)
    headers["Content-Length"] = str(wanted.length)
    if part is not None:
        headers["Content-Range"] = part.content_range(found.size_bytes)
    status = 206 if part is not None else 200
    if head or wanted.length == 0:
        return Response(status_code=status, headers=headers, media_type=_FILE)
    chunks = await _open(checkpoint_id, wanted, caller)
    return RelayResponse(chunks, status, headers=headers, media_type=_FILE)


def _file_headers(found: checkpoint_pb2.Checkpoint) -> dict[str, str]:
    return {
        "ETag": f'"{found.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="checkpoint_step_{found.step}.pt"',
    }


async def _open(checkpoint_id: str, wanted: ByteRange, caller: CallerOf) -> AsyncIterator[bytes]:
    """The bytes, once the control plane has begun to send them. Raises `AioRpcError`."""
    call = caller.control_plane.checkpoints.DownloadCheckpoint(
        checkpoint_pb2.DownloadCheckpointRequest(
            checkpoint_id=checkpoint_id, offset=wanted.start, length=wanted.length
        ),
        metadata=caller.metadata,
    )
    try:
        first = await call.read()
    except BaseException:
        call.cancel()
        raise
    return _relay(call, first, wanted.length)


async def _relay(call: Any, first: Any, length: int) -> AsyncIterator[bytes]:
    """One chunk in memory at a time; a short or broken source breaks the answer off."""
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
        raise BrokenOff from None
    finally:
        call.cancel()
    if sent != length:
        log.error("a download had %d bytes instead of %d", sent, length)
        raise BrokenOff
