"""Closes the connections of clients that are too slow to send a request or to read the answer.

uvicorn gives an idle connection a few seconds between two requests. But it waits without end for a
head that has begun, for the rest of a body that is not needed any more, and for a client that reads
nothing. Thousands of such clients would hold every file descriptor ("slowloris"). Bytes that are
not HTTP are refused here with a problem document, where uvicorn would send plain text.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.problems import MEDIA_TYPE, ProblemError

log = logging.getLogger(__name__)


class BoundedConnection(H11Protocol):
    """HTTP/1.1 with a deadline for the head of a request, and one for reading what was sent."""

    client_seconds = 60.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Writing pauses while anything is unread, so that the deadline holds for the last byte too.
        transport.set_write_buffer_limits(high=0)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            _cancel(self._head_due)
            self._head_due = None

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_due)
        self._head_due = None
        _cancel(self._read_due)
        self._read_due = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        _cancel(self._read_due)
        self._read_due = None
        super().resume_writing()

    def _await_head(self) -> None:
        if self._head_due is None:  # one deadline for the whole head, however often a byte comes
            self._head_due = self.loop.call_later(self.client_seconds, self.transport.close)

    def _await_reader(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._read_due = self.loop.call_later(self.client_seconds, self._look_at_reader, unread)

    def _look_at_reader(self, unread_before: int) -> None:
        if self.transport.get_write_buffer_size() < unread_before:
            self._await_reader()  # slow, but it goes on
            return
        log.warning("a client read nothing for %g s; its connection is closed", self.client_seconds)
        self.transport.abort()  # close() would wait for it

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP with a problem document, unless an answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        problem = ProblemError(f"{msg} The connection ends here; send HTTP/1.1.").response()
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


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bounded(client_seconds: float) -> type[BoundedConnection]:
    """Return the protocol with these deadlines: uvicorn makes its connections from a class."""
    return type("BoundedConnection", (BoundedConnection,), {"client_seconds": client_seconds})
