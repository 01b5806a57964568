"""The asyncio transport over REST: the gateway's routes and server-sent events."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent

from training_engine import _http
from training_engine._aio_guard import closed_behind
from training_engine._aio_presigned import fetch
from training_engine._aio_rest_upload import upload
from training_engine._call import Call
from training_engine._options import Options
from training_engine.records import Plain

Read = Callable[[ServerSentEvent], Plain | None]


class AsyncRestTransport:
    """Talks to the gateway."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._client = httpx.AsyncClient(
            **_http.client_settings(url, options),
            transport=_http.make_transport(httpx.AsyncHTTPTransport, url),
        )
        self._streaming: set[socket.socket] = set()

    async def unary(self, call: Call) -> Plain:
        try:
            response = await self._client.request(**_http.request_settings(call))
        except httpx.HTTPError as error:
            raise _http.failure(error, self._url) from error
        return _http.answer(response)

    @asynccontextmanager
    async def _open(
        self, settings: dict[str, Any], *, redirects: bool = False
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(**settings) as response:
                if not response.is_success and not (redirects and _http.other_address(response)):
                    await response.aread()
                    raise _http.problem(response)
                connection = response.extensions["network_stream"].get_extra_info("socket")
                self._streaming.add(connection)
                try:
                    yield response
                finally:
                    self._streaming.discard(connection)
        except httpx.HTTPError as error:
            raise _http.failure(error, self._url, streaming=True) from error

    async def _sent(self, settings: dict[str, Any], read: Read) -> AsyncIterator[Plain]:
        async with self._open(settings) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                return  # the job was over before
            async for sent in EventSource(response).aiter_sse():
                if (plain := read(sent)) is not None:
                    yield plain

    def events(self, call: Call, cursor: str, after_step: int | None) -> AsyncIterator[Plain]:
        return self._sent(_http.stream_settings(call, cursor, after_step), _http.event)

    def answers(self, call: Call) -> AsyncIterator[Plain]:
        return self._sent(_http.stream_settings(call), _http.answer_event)

    async def download(
        self, call: Call, offset: int, by_url: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        settings = _http.download_settings(call, offset, by_url)
        async with self._open(settings, redirects=by_url) as response:
            url = _http.other_address(response)
            if not url:
                position = _http.first_byte(response)
                async for data in response.aiter_bytes():
                    yield position, data
                    position += len(data)
        if url:
            pieces = fetch(url, offset)
            async with closed_behind(pieces):
                async for piece in pieces:
                    yield piece

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        return await upload(self._client, self._url, call, path, size_bytes)

    async def close(self) -> None:
        # A thread that waits for a stream's next event is not woken by closing its socket.
        for connection in [*self._streaming]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        await self._client.aclose()
