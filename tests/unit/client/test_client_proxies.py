"""Proxies that the environment names: left out on this machine, named where they fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from scripted_service import ScriptedService, job, job_pb2

from training_engine import AsyncTrainingEngine, TrainingEngine
from training_engine.errors import InvalidArgumentError, TrainingEngineError, UnavailableError
from training_engine.proxies import is_loopback

VARIABLES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class RefusingProxy(BaseHTTPRequestHandler):
    """Answers everything with a page of its own, as proxies of companies do."""

    asked: list[str]

    def do_CONNECT(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        page = b"<html><head><title>Not\n  allowed</title></head></html>"
        self.send_response(403)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_CONNECT

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """URL of a proxy that refuses, and what it was asked."""
    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Recorded", (RefusingProxy,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_without_a_proxy(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job("j1"))
    with socket.create_server(("127.0.0.1", 0)) as untouched:
        for name in VARIABLES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{untouched.getsockname()[1]}")
        with TrainingEngine(f"{host}:{service.port}", retry_for=0) as engine:
            assert engine.jobs.get("j1").job_id == "j1"
        with (
            TrainingEngine.over_rest(f"http://{host}:1", retry_for=0) as engine,
            pytest.raises(UnavailableError, match="no gateway at"),
        ):
            engine.jobs.get("j1")
        untouched.setblocking(False)
        with pytest.raises(BlockingIOError):
            untouched.accept()


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("localhost:50051", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("http://[::1]:8000/x", True),
        ("localhost.example:1", False),
        ("127.example:1", False),
        ("http://gateway:8000", False),
    ],
)
def test_what_counts_as_this_machine(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_a_proxy_that_refuses_a_control_plane_is_named(
    proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = proxy
    monkeypatch.setenv("http_proxy", url)
    with (
        TrainingEngine("plane.example:50051", retry_for=0) as engine,
        pytest.raises(UnavailableError) as caught,
    ):
        engine.jobs.get("j1")
    assert asked[0] == "CONNECT plane.example:50051"
    assert str(caught.value) == (
        "no control plane at plane.example:50051; it was asked through the proxy that http_proxy "
        "names; add plane.example to no_proxy for a connection without it"
    )


def test_what_a_proxy_says_itself_is_not_taken_for_the_gateway(
    proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = proxy
    monkeypatch.setenv("HTTP_PROXY", url)
    with (
        TrainingEngine.over_rest("http://gateway.example:8000", retry_for=0) as engine,
        pytest.raises(TrainingEngineError, match=r"answered 403 .*it says 'Not allowed'"),
    ):
        engine.jobs.get("j1")
    assert asked == ["GET http://gateway.example:8000/api/training/jobs/j1"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_gives_no_connection_is_named(
    proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    url, _ = proxy
    monkeypatch.setenv(f"{scheme}_proxy", url if scheme == "https" else "127.0.0.1:1")
    with (
        TrainingEngine.over_rest(f"{scheme}://gateway.example", retry_for=0) as engine,
        pytest.raises(UnavailableError, match=f"through the proxy that {scheme}_proxy names"),
    ):
        engine.jobs.get("j1")


def test_no_proxy_may_name_an_ipv6_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "fd00::/8,10.0.0.0/8,.example")
    with (
        TrainingEngine.over_rest("http://gateway.example", retry_for=0) as engine,
        pytest.raises(UnavailableError, match=r"no gateway at http://gateway.example"),
    ):
        engine.jobs.get("j1")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://user:hush@127.0.0.1:9", "ALL_PROXY names a SOCKS proxy, which needs a package"),
        ("foo://user:hush@h", "ALL_PROXY does not name a proxy that can be used; write http://"),
        ("http://user:hush@h:port", "ALL_PROXY does not name a proxy that can be used"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(InvalidArgumentError) as caught:
        TrainingEngine.over_rest("http://gateway.example").jobs.get("j1")
    assert str(caught.value).startswith(said)
    assert "hush" not in str(caught.value)
    with pytest.raises(InvalidArgumentError):
        await AsyncTrainingEngine.over_rest("http://gateway.example").jobs.get("j1")
