"""HEAD wherever GET is served: the same status and headers, without a body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD_ONLY = "training_engine.head_only"


class HeadAsGet:
    """ASGI middleware that answers HEAD with the route of GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        get_scope: Scope = {**scope, "method": "GET", _HEAD_ONLY: True}

        async def without_body(message: Message) -> None:
            if message["type"] != "http.response.start":
                return
            scope["route"] = get_scope.get("route")  # the telemetry around this reads it
            await send(message)
            # Sent at once, since the body of an event stream may never end.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(get_scope, receive, without_body)


def head_only(request: Request) -> bool:
    """Whether the request is a HEAD, so that no body needs to be fetched."""
    return bool(request.scope.get(_HEAD_ONLY, False))
