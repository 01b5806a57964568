"""Clients that take their time, or take for ever: they hold nothing that others need."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from memory_state import State
from running_gateway import client_for, eventually, gateway_for

PATIENCE = 1.0
ANSWER_BYTES = 10 << 20
PIECE_BYTES = 64 << 10
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def hasty(control_plane_port: int) -> AsyncIterator[str]:
    """A gateway that does not wait for slow clients."""
    async with gateway_for(control_plane_port, client_timeout_seconds=PATIENCE) as found:
        yield found


async def connected(url: str) -> Connection:
    return await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)


async def everything(reader: asyncio.StreamReader) -> str:
    """What is sent until the connection is closed, which must come."""
    async with asyncio.timeout(60):
        return (await reader.read()).decode()


@pytest.mark.parametrize("beginning", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
async def test_a_head_that_never_ends_is_not_waited_for(hasty: str, beginning: bytes) -> None:
    reader, writer = await connected(hasty)
    writer.write(beginning)
    assert await everything(reader) == ""
    writer.close()


async def test_a_byte_now_and_then_buys_no_time(hasty: str) -> None:
    reader, writer = await connected(hasty)
    ended = asyncio.ensure_future(everything(reader))
    for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
        writer.write(bytes([byte]))
        await asyncio.wait({ended}, timeout=PATIENCE / 10)
        if ended.done():
            break
    assert ended.done()
    writer.close()


async def test_a_second_request_on_a_connection_has_its_own_time(hasty: str) -> None:
    reader, writer = await connected(hasty)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(3):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        await reader.readexactly(len(b'{"status":"ok"}'))
        await asyncio.sleep(PATIENCE / 2)  # together longer than the time for one head
    writer.close()


async def test_a_body_that_nobody_reads_buys_no_time_either(hasty: str) -> None:
    reader, writer = await connected(hasty)
    writer.write(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 405 ")
    writer.write(b"x")  # after this byte, uvicorn would wait for the next one without end
    assert await everything(reader) == ""
    writer.close()


async def test_a_body_that_never_comes_is_408(hasty: str) -> None:
    reader, writer = await connected(hasty)
    writer.write(
        b"POST /api/training/configs HTTP/1.1\r\nHost: localhost\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name"'
    )
    head, _, body = (await everything(reader)).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408 ")
    assert "the rest of the body did not come within 1 s" in body
    writer.close()


async def test_an_upload_may_be_slow_as_long_as_it_goes_on(hasty: str, state: State) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"x" * 10
            await asyncio.sleep(PATIENCE / 4)

    async with client_for(hasty) as client:
        answer = await client.post("/api/training/datasets?name=a.txt", content=pieces())
    assert (answer.status_code, answer.json()["size_bytes"]) == (201, 60)


async def test_a_client_that_stops_reading_ends_its_download_and_its_connection(
    hasty: str, state: State
) -> None:
    state.add_checkpoint("ck", "job", 1, bytes(32 << 20))
    reader, writer = await connected(hasty)
    writer.write(b"GET /api/training/checkpoints/ck/download HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await eventually(lambda: state.open_downloads == 1)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    await eventually(lambda: state.open_downloads == 0)
    # A write shows that the other side has closed the socket.
    async with asyncio.timeout(60):
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)
    writer.transport.abort()


async def test_a_client_that_reads_slowly_gets_everything(hasty: str, state: State) -> None:
    """An answer that is written at once, and takes longer to read than the time for no progress."""
    async with client_for(hasty) as client:
        started = await client.post("/api/training/jobs/start", json={"config": {}})
    job_id = started.json()["job_id"]
    state.job(job_id).error = "x" * ANSWER_BYTES
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
    connection.connect((urlsplit(hasty).hostname, urlsplit(hasty).port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=PIECE_BYTES)
    writer.write(f"GET /api/training/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    begun, received = asyncio.get_running_loop().time(), 0
    while received < ANSWER_BYTES:
        piece = await reader.read(PIECE_BYTES)
        assert piece, f"broken off after {received} bytes"
        received += len(piece)
        await asyncio.sleep(PATIENCE / 60)
    assert asyncio.get_running_loop().time() - begun > 2 * PATIENCE
    writer.close()


async def test_what_is_no_http_is_refused_with_a_problem(url: str) -> None:
    for words in (b"HELO gateway\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        reader, writer = await connected(url)
        writer.write(words)
        head, _, body = (await everything(reader)).partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 400 Bad Request")
        assert "content-type: application/problem+json" in head
        assert "Invalid HTTP request received. The connection ends here; send HTTP/1.1." in body
        writer.close()


async def test_what_is_no_http_behind_an_answer_ends_the_connection_in_order(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await connected(url)
    writer.write(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 405 ")
    writer.write(b"no length\r\n")
    assert await everything(reader) == ""
    assert "Fatal error" not in caplog.text
    writer.close()


async def test_a_made_up_method_makes_no_series_of_its_own(client: httpx.AsyncClient) -> None:
    assert (await client.request("BREW", "/healthz")).status_code == 405
    text = (await client.get("/metrics")).text
    assert "BREW" not in text
    assert 'training_engine_gateway_requests_total{method="other"' in text


async def test_answers_are_for_their_reader_alone(client: httpx.AsyncClient) -> None:
    api = await client.get("/api/training/jobs")
    assert api.headers["cache-control"] == "no-store"
    assert api.headers["cross-origin-resource-policy"] == "same-origin"
    page = await client.get("/")
    assert page.headers["cache-control"] == "no-cache"
