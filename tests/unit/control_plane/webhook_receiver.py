"""A receiver of webhooks on loopback: a real HTTP server that answers as it is told."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs/operations.md"
KEYS = [bytes([number]) * 32 for number in (1, 2)]
SECRETS = ["whsec_" + base64.b64encode(key).decode() for key in KEYS]


def documented_check() -> Callable[[str, Any, bytes], bool]:
    """The receiver's check of a signature, as the page about operations has it."""
    (block,) = re.findall(r"```python\n(import base64.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)  # our own documentation
    check: Callable[[str, Any, bytes], bool] = names["is_genuine"]
    return check


@dataclass
class Received:
    """A request that came."""

    id: str
    body: dict[str, Any]
    is_genuine: list[bool]
    """By each of SECRETS."""
    headers: dict[str, str]
    path: str
    raw: bytes


@dataclass
class Receiver:
    """Answers each request with the next of `answers`, then with 204; each request is kept."""

    answers: list[int] = field(default_factory=list)
    port: int = 0
    received: list[Received] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)
    """Requests are taken and not answered while this is not set."""

    def __enter__(self) -> Receiver:
        self.answering.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts?team=a"

    def ids(self) -> list[str]:
        """Of the requests, in the order in which they came."""
        return [one.id for one in self.received]

    def texts(self) -> list[str]:
        """What the requests say, each id once, in the order in which they came first."""
        return list({one.id: one.body["data"]["text"] for one in self.received}.values())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver, check = self, documented_check()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                genuine = [check(secret, headers, raw) for secret in SECRETS]
                one = Received(
                    headers["webhook-id"], json.loads(raw), genuine, headers, self.path, raw
                )
                receiver.received.append(one)
                receiver.answering.wait()
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
