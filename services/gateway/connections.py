"""One client's connection: it may not take forever to say what it wants, nor be told in prose.

uvicorn gives an idle connection a few seconds between two requests, but waits without end for the
head of one that has begun; thousands of clients that send a byte a minute would hold every file
descriptor ("slowloris").
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.problems import MEDIA_TYPE, Problem


class BoundedConnection(H11Protocol):
    """HTTP/1.1 with a deadline for the head of each request."""

    head_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_to_wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # a head has begun, but not ended
            self._begin_to_wait()
        else:
            self._end_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_to_wait()
        super().connection_lost(exc)

    def _begin_to_wait(self) -> None:
        if self._deadline is None:  # one deadline for the whole head, however often a byte comes
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _end_to_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused like all else: with a problem."""
        problem = Problem(400, f"{msg} The connection ends here; send HTTP/1.1.").response()
        body = bytes(problem.body)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def bounded(head_seconds: float) -> type[BoundedConnection]:
    """The protocol with this deadline: uvicorn makes its connections from a class."""
    return type("BoundedConnection", (BoundedConnection,), {"head_seconds": head_seconds})
