"""Text sampled from a checkpoint, token by token or at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
from fastapi import Request, Response

from gateway.contract import route
from gateway.problems import from_rpc_error
from gateway.routes.declare import CallerOf, answer, event_stream, problems, router, rpc
from gateway.schemas.generation import GenerateBody, GeneratedText
from gateway.streaming import (
    CLIENT_CLOSED_REQUEST,
    EVENT_STREAM_HEADERS,
    ClientGoneError,
    RelayResponse,
    event,
    kept_alive,
    while_connected,
)
from training_engine._generation import TextPieces, whole_texts
from training_engine.messages import message_to_plain
from training_engine.v1 import generation_pb2

routes = router("checkpoints")

_ROUTE = route("GenerationService.Generate")
_EXAMPLE = 'event: token\ndata: {"index":0,"token_id":84,"text":"T","finish_reason":null}\n\n'


@routes.post(
    _ROUTE.path,
    response_class=Response,
    responses={
        200: {
            "description": "Events `token`, the last with its finish_reason; an event `error` "
            "holds a problem that came too late for a status. One JSON with `stream: false`.",
            "model": GeneratedText,
            "content": event_stream(_EXAMPLE, token="GeneratedToken", error="Problem"),
        },
        **problems(404, 409, 413),
    },
    openapi_extra=rpc(_ROUTE.rpc),
)
async def generate(
    checkpoint_id: str, body: GenerateBody, request: Request, caller: CallerOf
) -> Response:
    """Continue a prompt, also while the job still trains."""
    call = caller.control_plane.generation.Generate(
        generation_pb2.GenerateRequest(
            checkpoint_id=checkpoint_id, **body.model_dump(exclude={"stream"}, exclude_none=True)
        ),
        metadata=caller.metadata,
    )
    try:
        if not body.stream:
            return answer(await while_connected(request, _whole(checkpoint_id, body, call)))
        first = await while_connected(request, call.read())
    except ClientGoneError:
        call.cancel()
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # the client has gone
    except BaseException:
        call.cancel()
        raise
    state = request.app.state
    events = kept_alive(_events(call, first), state.closing, state.settings.ping_seconds)
    return RelayResponse(
        state.streams.counted(events), headers=EVENT_STREAM_HEADERS, media_type="text/event-stream"
    )


async def _whole(checkpoint_id: str, body: GenerateBody, call: Any) -> dict[str, Any]:
    pieces = TextPieces()
    taken = [pieces.take(message_to_plain(token)) async for token in call]
    whole = [piece for piece in taken if piece is not None]
    return {
        "checkpoint_id": checkpoint_id,
        **whole_texts(body.prompt, body.prompts or [], whole),
    }


async def _events(call: Any, first: Any) -> AsyncGenerator[bytes]:
    token = first
    try:
        while token is not grpc.aio.EOF:
            yield event("token", message_to_plain(token))
            token = await call.read()
    except grpc.aio.AioRpcError as error:
        yield event("error", from_rpc_error(error).body())
    finally:
        call.cancel()
