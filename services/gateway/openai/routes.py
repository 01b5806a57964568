"""The addresses of OpenAI's API: `base_url` is the gateway's address with `/v1`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
from fastapi import APIRouter, Request, Response

from gateway.codec import dumps
from gateway.documents import StrictRoute
from gateway.openai import models
from gateway.openai.answers import Answer, ChatCompletion, Completion
from gateway.openai.bodies import ChatBody, CompletionBody
from gateway.openai.errors import openai_error
from gateway.problems import ProblemError, from_rpc_error
from gateway.routes.declare import CallerOf, answer
from gateway.streaming import (
    CLIENT_CLOSED_REQUEST,
    EVENT_STREAM_HEADERS,
    ClientGoneError,
    RelayResponse,
    kept_alive,
    while_connected,
)
from training_engine.v1.generation_pb2 import GenerateRequest

# Not in the OpenAPI document, whose every answer is in the service's own form; docs/openai.md
# describes these.
routes = APIRouter(prefix="/v1", route_class=StrictRoute, include_in_schema=False)

Tokens = AsyncGenerator[tuple[int, Any]]
"""The number of a prompt, and a token of it."""

_DONE = b"data: [DONE]\n\n"
_CLOSING = ProblemError("the gateway is shutting down; ask again", reason="SHUTTING_DOWN")


@routes.get("/models")
async def list_models(caller: CallerOf) -> Response:
    """List the newest jobs that have a checkpoint."""
    return answer({"object": "list", "data": await models.listed(caller)})


@routes.get("/models/{model:path}")
async def get_model(model: str, caller: CallerOf) -> Response:
    """Describe one model."""
    return answer(await models.described(caller, model))


@routes.post("/completions")
async def complete(body: CompletionBody, request: Request, caller: CallerOf) -> Response:
    """Continue a text."""
    checkpoint_id = await models.checkpoint_of(caller, body.model)
    calls = body.requests(checkpoint_id)
    return await _respond(request, caller, calls, Completion(body, checkpoint_id), body.stream)


@routes.post("/chat/completions")
async def chat(body: ChatBody, request: Request, caller: CallerOf) -> Response:
    """Answer a conversation, by the chat template of the checkpoint."""
    checkpoint_id = await models.checkpoint_of(caller, body.model)
    calls = body.requests(checkpoint_id)
    return await _respond(request, caller, calls, ChatCompletion(body, checkpoint_id), body.stream)


async def _respond(
    request: Request,
    caller: CallerOf,
    calls: list[GenerateRequest],
    said: Answer,
    stream: bool | None,
) -> Response:
    tokens = _tokens(caller, calls)
    try:
        if not stream:
            return answer(await while_connected(request, _whole(tokens, said)))
        # A refusal that comes before the first token still has a status.
        first = await while_connected(request, anext(tokens))
    except ClientGoneError:
        await tokens.aclose()
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    state = request.app.state
    chunks = kept_alive(
        _chunks(first, tokens, said),
        state.closing,
        state.settings.ping_seconds,
        farewell=_event(openai_error(_CLOSING)),
    )
    return RelayResponse(
        state.streams.counted(chunks), headers=EVENT_STREAM_HEADERS, media_type="text/event-stream"
    )


async def _tokens(caller: CallerOf, calls: list[GenerateRequest]) -> Tokens:
    """Yield the number of a prompt and a token of it, one prompt after the other."""
    for number, message in enumerate(calls):
        generate = caller.control_plane.generation.Generate
        call = generate(message, metadata=caller.metadata)
        try:
            while (token := await call.read()) is not grpc.aio.EOF:
                yield number, token
        finally:
            call.cancel()


async def _whole(tokens: Tokens, said: Answer) -> dict[str, Any]:
    async for number, token in tokens:
        said.take(number, token)
    return said.whole()


async def _chunks(first: tuple[int, Any], tokens: Tokens, said: Answer) -> AsyncGenerator[bytes]:
    try:
        for chunk in said.take(*first):
            yield _event(chunk)
        async for number, token in tokens:
            for chunk in said.take(number, token):
                yield _event(chunk)
        for chunk in said.last_chunks():
            yield _event(chunk)
        yield _DONE
    except grpc.aio.AioRpcError as error:
        yield _event(openai_error(from_rpc_error(error)))
    finally:
        await tokens.aclose()


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + dumps(data) + b"\n\n"
