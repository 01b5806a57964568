"""A call that works for a while: its answers as events as they come, or one JSON at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import grpc
from fastapi import Request, Response

from gateway.problems import from_rpc_error
from gateway.routes.declare import answer
from gateway.streaming import (
    CLIENT_CLOSED_REQUEST,
    EVENT_STREAM_HEADERS,
    ClientGoneError,
    RelayResponse,
    event,
    kept_alive,
    while_connected,
)
from training_engine.messages import message_to_plain


async def answered(
    request: Request, call: Any, name: str, whole: Awaitable[dict[str, Any]] | None
) -> Response:
    """Relay what a call streams as events of this name; or answer with `whole`, made of it.

    The call is cancelled when the client leaves.
    """
    try:
        if whole is not None:
            return answer(await while_connected(request, whole))
        first = await while_connected(request, call.read())
    except ClientGoneError:
        call.cancel()
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # the client has gone
    except BaseException:
        call.cancel()
        raise
    state = request.app.state
    events = kept_alive(_events(call, name, first), state.closing, state.settings.ping_seconds)
    return RelayResponse(
        state.streams.counted(events), headers=EVENT_STREAM_HEADERS, media_type="text/event-stream"
    )


async def _events(call: Any, name: str, first: Any) -> AsyncGenerator[bytes]:
    message = first
    try:
        while message is not grpc.aio.EOF:
            yield event(name, message_to_plain(message))
            message = await call.read()
    except grpc.aio.AioRpcError as error:
        yield event("error", from_rpc_error(error).body())
    finally:
        call.cancel()
