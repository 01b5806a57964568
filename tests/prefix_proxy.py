"""A reverse proxy that shows a server below a prefix, and takes the prefix off, as nginx does."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_PIECE_BYTES = 64 << 10


class PrefixProxy(socketserver.ThreadingTCPServer):
    """Serves below a prefix what the server behind it serves at its root."""

    daemon_threads = True
    request_queue_size = 128
    """A page opens many connections at once, and each request has its own."""

    def __init__(self, prefix: str, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarding)
        self.prefix = prefix.encode()
        self.behind = behind
        self.strays: list[str] = []
        """What was asked for beside the prefix, and refused."""


class _Forwarding(socketserver.StreamRequestHandler):
    """One request a connection; everything but its path and `Connection` goes on as it came."""

    server: PrefixProxy

    def handle(self) -> None:
        method, _, target = self.rfile.readline().partition(b" ")
        if not target.startswith(self.server.prefix + b"/"):
            self.server.strays.append(target.decode())
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        head = method + b" " + target.removeprefix(self.server.prefix)
        while (line := self.rfile.readline()).strip():
            if not line.lower().startswith(b"connection:"):
                head += line
        # A client that goes away ends the connection behind, and the other way round.
        with contextlib.suppress(OSError), socket.create_connection(self.server.behind) as behind:
            behind.sendall(head + b"Connection: close\r\n\r\n")
            threading.Thread(target=self._send_body, args=(behind,), daemon=True).start()
            while piece := behind.recv(_PIECE_BYTES):
                self.wfile.write(piece)

    def _send_body(self, behind: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := self.rfile.read1(_PIECE_BYTES):  # type: ignore[attr-defined]
                behind.sendall(piece)
            behind.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def below_prefix(prefix: str, url: str) -> Iterator[tuple[str, list[str]]]:
    """The server at `url` below a prefix: its new URL, and what was asked for beside it."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with PrefixProxy(prefix, (parts.hostname, parts.port)) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}{prefix}", proxy.strays
        proxy.shutdown()
