"""HEAD wherever GET is served: the same status and headers, without a body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD_ONLY = "training_engine.head_only"


class HeadAsGet:
    """ASGI middleware that has the route of GET answer HEAD, and keeps its body back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked: Scope = {**scope, "method": "GET", _HEAD_ONLY: True}

        async def without_body(message: Message) -> None:
            if message["type"] != "http.response.start":
                return
            scope["route"] = asked.get("route")  # for those who measure outside
            await send(message)
            # At once: the body of an event stream would have no end of its own.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(asked, receive, without_body)


def head_only(request: Request) -> bool:
    """Whether only the head of the answer is asked for: no body needs to be fetched."""
    return bool(request.scope.get(_HEAD_ONLY, False))
