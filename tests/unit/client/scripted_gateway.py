"""A small real HTTP server whose answers a test writes down beforehand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    call: str
    query: str
    headers: Message
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: ScriptedGateway

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        path, _, self.query = self.path.partition("?")
        call = f"{self.command} {path}"
        # One handler serves all requests of a connection: keep what each of them was.
        body = self.rfile.read(length)
        self.server.requests.append(Asked(call, self.query, self.headers, body))
        self.server.on[call](self)

    do_GET = do_POST = do_DELETE = _serve

    def json(self, status: int, value: Any = None, **headers: str) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        kind = "application/problem+json" if status >= 400 else "application/json"
        self.send(status, data, **{"content-type": kind, **headers})

    def send(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        if length is not None:
            self.close_connection = True  # the rest never comes

    def events(self, *events: tuple[str, str, Any], whole: bool = True) -> None:
        """Server-sent events; not `whole` breaks the connection behind them."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        text = ": ping\n\n" + "".join(
            f"id: {cursor}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
            for cursor, name, data in events
        )
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not whole


class ScriptedGateway(ThreadingHTTPServer):
    """Answers by the functions in `on`, one for each "VERB /path"; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.on: dict[str, Callable[[Exchange], None]] = {}
        self.requests: list[Asked] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def asked(self, call: str) -> list[Asked]:
        """The requests of one "VERB /path"."""
        return [request for request in self.requests if request.call == call]
