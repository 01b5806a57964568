"""HEAD answers wherever GET does: the same status and headers, and nothing behind them."""

from __future__ import annotations

import re

import httpx
from memory_state import State
from running_gateway import eventually

from gateway.application import create_app
from gateway.settings import GatewaySettings

JOBS = "/api/training/jobs"
IDS = {
    "job_id": "job_1", "checkpoint_id": "ck", "config_id": "cfg_1", "dataset_id": "ds_1",
    "sweep_id": "swp_1",
}  # fmt: skip
PAGES = ["/", "/docs", "/openapi.json", "/static/style.css", "/swagger/swagger-ui.css"]
STREAM = f"{JOBS}/job_1/stream"
# They differ from one answer to the next, or are the body's.
VOLATILE = {"date", "transfer-encoding"}


def addresses() -> list[str]:
    paths = create_app(GatewaySettings()).openapi()["paths"]
    of_get = [path for path, methods in paths.items() if "get" in methods]
    return [*PAGES, *(re.sub(r"{(\w+)}", lambda found: IDS[found[1]], path) for path in of_get)]


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in VOLATILE}


async def filled(client: httpx.AsyncClient, state: State) -> None:
    await client.post("/api/training/configs", json={"name": "a", "config": {}})
    await client.post(f"{JOBS}/start", json={"config": {}})
    await client.post("/api/training/datasets?name=a.txt", content=b"text")
    state.add_checkpoint("ck", "job_1", 1, b"weights")
    await state.log_step("job_1", 1, loss=1.5, tokens_seen=1)


async def test_head_is_get_without_the_body(client: httpx.AsyncClient, state: State) -> None:
    await filled(client, state)
    for path in addresses():
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        if path == "/metrics":  # counts this request too
            assert head.headers["content-type"].startswith("text/plain")
        elif path != STREAM:
            assert headers_of(head) == headers_of(await client.get(path)), path


async def test_head_of_a_stream_ends_at_once(client: httpx.AsyncClient, state: State) -> None:
    await filled(client, state)
    head = await client.head(STREAM)
    assert head.headers["content-type"].startswith("text/event-stream")
    await eventually(lambda: state.open_watches == 0)
    metrics = (await client.get("/metrics")).text
    assert 'method="HEAD",route="/api/training/jobs/{job_id}/stream",status="200"' in metrics


async def test_head_is_refused_like_get(client: httpx.AsyncClient) -> None:
    for path, status in (
        (f"{JOBS}/job_9", 404),
        ("/nothing", 404),
        ("/api/training/checkpoints/ck/generate", 405),
        (f"{JOBS}?page_size=-1", 400),
    ):
        head = await client.head(path)
        assert (head.status_code, head.content) == (status, b""), path
        got = headers_of(await client.get(path))
        assert headers_of(head) == got, path
