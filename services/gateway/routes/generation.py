"""Text sampled from a checkpoint, token by token or at once."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from gateway.contract import route
from gateway.routes.answering import answered
from gateway.routes.declare import CallerOf, event_stream, problems, router, rpc
from gateway.schemas.generation import GenerateBody, GeneratedText
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
    whole = None if body.stream else _whole(checkpoint_id, body, call)
    return await answered(request, call, "token", whole)


async def _whole(checkpoint_id: str, body: GenerateBody, call: Any) -> dict[str, Any]:
    pieces = TextPieces()
    taken = [pieces.take(message_to_plain(token)) async for token in call]
    whole = [piece for piece in taken if piece is not None]
    return {
        "checkpoint_id": checkpoint_id,
        **whole_texts(body.prompt, body.prompts or [], whole),
    }
