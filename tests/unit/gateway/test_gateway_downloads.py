"""Downloads: ranges, validators, constant memory, and never a short file taken for a whole one."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc

import httpx
import pytest
from memory_state import State
from running_gateway import client_for, eventually, gateway_for

URL = "/api/training/checkpoints/ck/download"
DATA = bytes(range(256)) * 1024  # 256 KiB: four chunks
SIZE = len(DATA)
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


@pytest.fixture(autouse=True)
def stored(state: State) -> None:
    state.add_checkpoint("ck", "job", 20, DATA)


async def test_the_whole_file(client: httpx.AsyncClient) -> None:
    response = await client.get(URL)
    assert response.status_code == 200
    assert response.content == DATA
    assert response.headers["content-length"] == str(SIZE)
    assert response.headers["etag"] == ETAG
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == (
        'attachment; filename="checkpoint_step_20.pt"'
    )


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-9"}])
async def test_head_tells_the_same_without_the_file(
    client: httpx.AsyncClient, state: State, headers: dict[str, str]
) -> None:
    response = await client.head(URL, headers=headers)  # ranges are defined for GET alone
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(SIZE)
    assert response.headers["etag"] == ETAG
    assert all("Download" not in type(request).__name__ for request in state.requests)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=70000-140000", 70_000, 140_000),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
        (f"bytes=5-{SIZE * 2}", 5, SIZE - 1),
    ],
)
async def test_a_range_is_206(client: httpx.AsyncClient, asked: str, start: int, end: int) -> None:
    response = await client.get(URL, headers={"Range": asked, "If-Range": ETAG})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{end}/{SIZE}"
    assert response.headers["content-length"] == str(end - start + 1)
    assert response.content == DATA[start : end + 1]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
async def test_a_range_outside_is_416(client: httpx.AsyncClient, asked: str) -> None:
    response = await client.get(URL, headers={"Range": asked})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{SIZE}"
    assert response.json()["reason"] == "offset_out_of_range"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=5-4"},
        {"Range": "bytes=-"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=" + "9" * 40 + "-"},
        {"Range": "bytes=5-", "If-Range": '"another"'},
    ],
)
async def test_what_is_no_range_of_this_file_gets_the_whole(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await client.get(URL, headers=headers)
    assert (response.status_code, len(response.content)) == (200, SIZE)


async def test_an_unchanged_file_is_304(client: httpx.AsyncClient) -> None:
    for tag in (ETAG, f'"x", W/{ETAG}', "*"):
        response = await client.get(URL, headers={"If-None-Match": tag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == ETAG
    assert (await client.get(URL, headers={"If-None-Match": '"x"'})).status_code == 200


async def test_a_download_that_breaks_off_is_seen_as_broken_and_can_be_continued(
    client: httpx.AsyncClient, state: State
) -> None:
    state.break_downloads_after = 128 << 10
    got = b""
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without"):  # noqa: PT012
        async with client.stream("GET", URL) as response:
            async for piece in response.aiter_bytes():
                got += piece
    assert got == DATA[: 128 << 10]
    state.break_downloads_after = float("inf")
    rest = await client.get(URL, headers={"Range": f"bytes={len(got)}-", "If-Range": ETAG})
    assert got + rest.content == DATA


async def test_a_file_that_cannot_be_opened_is_a_problem(
    client: httpx.AsyncClient, state: State
) -> None:
    state.break_downloads_after = 0
    response = await client.get(URL)
    assert (response.status_code, response.json()["reason"]) == (503, "store_unavailable")


async def test_memory_does_not_grow_with_the_file(control_plane_port: int, state: State) -> None:
    size = 32 << 20
    state.add_checkpoint("big", "job", 1, bytes(size))
    async with gateway_for(control_plane_port) as url, client_for(url) as client:
        tracemalloc.start()
        try:
            path = "/api/training/checkpoints/big/download"
            received = 0
            async with client.stream("GET", path) as response:
                async for piece in response.aiter_raw():
                    received += len(piece)
                    await asyncio.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert received == size
    assert peak < 8 << 20


async def test_an_upload_that_breaks_off_stores_nothing(url: str, state: State) -> None:
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /api/training/datasets?name=a.txt HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 5000000\r\n\r\n" + bytes(1_000_000)
    )
    await writer.drain()
    await eventually(lambda: len(state.requests) == 1)
    writer.close()
    await eventually(lambda: state.uploads_broken_off == 1)
    assert state.datasets == {}
