# Generated from _aio_rest.py by client/generate_sync.py; run: make sync
"""The blocking transport over REST: the gateway's routes and server-sent events."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent

from training_engine import _http
from training_engine._call import Call
from training_engine._guard import closed_behind
from training_engine._options import Options
from training_engine._presigned import fetch
from training_engine._rest_upload import upload
from training_engine.records import Plain

Read = Callable[[ServerSentEvent], Plain | None]


class RestTransport:
    """Talks to the gateway."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._client = httpx.Client(
            **_http.client_settings(url, options),
            transport=_http.make_transport(httpx.HTTPTransport, url),
        )
        self._streaming: set[socket.socket] = set()

    def unary(self, call: Call) -> Plain:
        try:
            response = self._client.request(**_http.request_settings(call))
        except httpx.HTTPError as error:
            raise _http.failure(error, self._url) from error
        return _http.answer(response)

    @contextmanager
    def _open(
        self, settings: dict[str, Any], *, redirects: bool = False
    ) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(**settings) as response:
                if not response.is_success and not (redirects and _http.other_address(response)):
                    response.read()
                    raise _http.problem(response)
                connection = response.extensions["network_stream"].get_extra_info("socket")
                self._streaming.add(connection)
                try:
                    yield response
                finally:
                    self._streaming.discard(connection)
        except httpx.HTTPError as error:
            raise _http.failure(error, self._url, streaming=True) from error

    def _sent(self, settings: dict[str, Any], read: Read) -> Iterator[Plain]:
        with self._open(settings) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                return  # the job was over before
            for sent in EventSource(response).iter_sse():
                if (plain := read(sent)) is not None:
                    yield plain

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        return self._sent(_http.stream_settings(call, cursor, after_step), _http.event)

    def answers(self, call: Call) -> Iterator[Plain]:
        return self._sent(_http.stream_settings(call), _http.answer_event)

    def download(self, call: Call, offset: int, by_url: bool) -> Iterator[tuple[int, bytes]]:
        settings = _http.download_settings(call, offset, by_url)
        with self._open(settings, redirects=by_url) as response:
            url = _http.other_address(response)
            if not url:
                position = _http.first_byte(response)
                for data in response.iter_bytes():
                    yield position, data
                    position += len(data)
        if url:
            pieces = fetch(url, offset)
            with closed_behind(pieces):
                yield from pieces

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        return upload(self._client, self._url, call, path, size_bytes)

    def close(self) -> None:
        # A thread that waits for a stream's next event is not woken by closing its socket.
        for connection in [*self._streaming]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._client.close()
