"""Responses that are sent in parts. They end when their client leaves, and leave no task behind.

`fastapi.sse` is not used (0.165): an event costs it four times as much, its pings come every 15 s
and cannot be set, an error drops the event before it, and its headers are sent before the first
event, so that a watch could not be refused by a status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.codec import dumps

T = TypeVar("T")

EVENT_STREAM_HEADERS = {
    "Cache-Control": "no-store",
    # nginx and proxies like it would hold events back.
    "X-Accel-Buffering": "no",
}
PING = b": ping\n\n"
CLIENT_CLOSED_REQUEST = 499
"""Status of an answer that no client reads."""


class ClientGoneError(Exception):
    """The client closed its connection, so there is no one to answer."""


class StreamBrokenError(Exception):
    """The source ended early; the client must see a broken body, never a complete one."""


class RelayResponse(Response):
    """Sends `chunks` as they come; closes the iterator when the client goes away."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        status_code: int = 200,
        *,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(None, status_code, headers=headers, media_type=media_type)
        if "content-length" not in {name.lower() for name in headers}:
            del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait({body, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(gone)
            finished = body.done()
            await _cancelled(body)
            await self._chunks.aclose()  # type: ignore[attr-defined]
        if finished:
            body.result()

    async def _send_all(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        try:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except StreamBrokenError:
            return  # without an end, the server closes the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel `task` and wait for its end; its outcome is read elsewhere or not needed."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return the result of `work`, cancelled when the client goes away.

    Raises:
        ClientGoneError: The client closed its connection.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        await _cancelled(gone)
        await _cancelled(task)


async def kept_alive(
    chunks: AsyncGenerator[bytes],
    closing: asyncio.Event,
    ping_seconds: float,
    *,
    farewell: bytes = b"",
) -> AsyncGenerator[bytes]:
    """Yield `chunks`, and pings while they are slow; end with `farewell` when `closing` is set."""
    closed = asyncio.ensure_future(closing.wait())
    reading: asyncio.Future[bytes | None] | None = None
    try:
        while not closed.done():
            reading = reading or asyncio.ensure_future(anext(chunks, None))
            waits: set[asyncio.Future[Any]] = {reading, closed}
            await asyncio.wait(waits, timeout=ping_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                yield PING
                continue
            chunk, reading = reading.result(), None
            if chunk is None:
                return
            yield chunk
        if farewell:
            yield farewell
    finally:
        await _cancelled(closed)
        if reading is not None:
            await _cancelled(reading)
        await chunks.aclose()


def event(name: str, data: Any, cursor: str = "") -> bytes:
    """Return one server-sent event; JSON holds no raw newline, so one data line is enough."""
    head = f"event: {name}\n" + (f"id: {cursor}\n" if cursor else "")
    return head.encode() + b"data: " + dumps(data) + b"\n\n"
