"""A real S3 service for tests: moto's server in a process of its own, and the faults of a network.

`python bucket_server.py PORT [FAULTS]` serves; FAULTS is the JSON of `Faults`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from free_ports import free_port

from artifact_store.object_store import S3Store
from artifact_store.unfinished_uploads import uploads_below

BUCKET = "models"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclasses.dataclass(frozen=True)
class Faults:
    """How often a request meets each fault, from 0 to 1, drawn from `seed`."""

    seed: int = 1
    refused: float = 0.0
    """Answered with 503 and not carried out."""
    torn: float = 0.0
    """Carried out, and the connection closed in place of an answer."""
    stalled: float = 0.0
    """Answered after two seconds."""
    cut_bodies: float = 0.0
    """Half of the answer's body is sent."""
    held: str = ""
    """A file. While it is there, parts of uploads wait whose address has its content in it."""


class BucketServer:
    """Serves an empty bucket named `models` until `stop`."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._faults = json.dumps(dataclasses.asdict(faults or Faults()))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> BucketServer:
        command = [sys.executable, __file__, str(self.port), self._faults, str(os.getpid())]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"{self.url}/{BUCKET}", method="PUT")
                _NO_PROXY.open(request, timeout=5).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, "the bucket's server does not answer"
                assert self.process.poll() is None, "the bucket's server has ended"
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it; the credentials may be any."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }


def unfinished_uploads(store: S3Store) -> list[str]:
    """The keys of multipart uploads that have not ended."""
    return [upload.key for upload in uploads_below(store, "")]


Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


OLD_SERVICE = "ignores-conditions"
"""As part of an address: `If-None-Match` means nothing there, as to services older than it."""
_REFUSED = re.compile(r"/refuses-(\w+)/")
"""As part of an address: every request there is refused with this code."""


class Disturbed:
    """A WSGI application in front of another that lets requests meet `faults`.

    Requests that make the bucket are left alone.
    """

    def __init__(self, application: Application, faults: Faults) -> None:
        self._application, self._faults = application, faults
        self._random, self._lock = random.Random(faults.seed), threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if OLD_SERVICE in environ["PATH_INFO"]:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if refused := _REFUSED.search(environ["PATH_INFO"]):
            return _refusal(environ, start, "403 Forbidden", refused[1])
        if environ["PATH_INFO"].strip("/") == BUCKET and environ["REQUEST_METHOD"] == "PUT":
            return self._application(environ, start)
        with self._lock:
            drawn = [self._random.random() for _ in range(4)]
        if drawn[0] < self._faults.refused:
            return _refusal(environ, start, "503 Slow Down", "SlowDown")
        if drawn[1] < self._faults.stalled:
            time.sleep(2)
        while "partNumber=" in environ["QUERY_STRING"] and self._is_held(environ["PATH_INFO"]):
            time.sleep(0.05)
        answer = self._application(environ, start)
        if drawn[2] < self._faults.torn:
            for _ in answer:
                pass
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        elif drawn[3] < self._faults.cut_bodies and environ["REQUEST_METHOD"] == "GET":
            return _half(b"".join(answer), environ["werkzeug.socket"])
        return answer

    def _is_held(self, address: str) -> bool:
        try:
            return bool(self._faults.held) and Path(self._faults.held).read_text() in address
        except FileNotFoundError:
            return False


def _refusal(environ: Mapping[str, Any], start: Any, status: str, code: str) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start(status, [("Content-Type", "application/xml")])
    said = f"<Error><Code>{code}</Code><Message>signed by hush</Message></Error>".encode()
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [said]


def _half(body: bytes, connection: socket.socket) -> Iterable[bytes]:
    yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_RDWR)


def serve(port: int, faults: Faults, parent: int) -> None:
    """Serve until the process is killed, or the process `parent` is gone."""
    import ctypes

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        return
    application = Disturbed(DomainDispatcherApplication(create_backend_app), faults)
    run_simple("127.0.0.1", port, application, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Faults(**json.loads(sys.argv[2])), int(sys.argv[3]))
