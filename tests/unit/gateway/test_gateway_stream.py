"""Event streams: replay, follow, continue, end, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from memory_control_plane import EVALUATION, serving
from memory_state import BEGAN, State
from openapi_shapes import assert_shape
from running_gateway import client_for, eventually, gateway_for

from training_engine.v1 import checkpoint_pb2, job_pb2

API = "/api/training"
SUCCEEDED = job_pb2.JOB_STATUS_SUCCEEDED


async def started(client: httpx.AsyncClient) -> str:
    body = {"config": {}, "dataset_path": "/data/t.txt"}
    return str((await client.post(f"{API}/jobs/start", json=body)).json()["job_id"])


async def blocks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Each block of an event stream; a comment as {"comment": text}."""
    block: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if line == "":
            yield block
            block = {}
        elif line.startswith(":"):
            block["comment"] = line[1:].strip()
        else:
            name, _, value = line.partition(": ")
            block[name] = json.loads(value) if name == "data" else value


async def events(client: httpx.AsyncClient, job_id: str, **options: Any) -> list[dict[str, Any]]:
    """Every event until the stream ends."""
    async with client.stream("GET", f"{API}/jobs/{job_id}/stream", **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return [block async for block in blocks(response) if "event" in block]


async def test_all_kinds_of_events_are_replayed_with_their_cursors(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await started(client)
    await state.log_step(job_id, 1, loss=4.0)
    await state.happen(
        job_id, checkpoint=checkpoint_pb2.Checkpoint(checkpoint_id="ck", job_id=job_id, step=1)
    )
    await state.happen(
        job_id, log=job_pb2.LogLine(sequence=1, attempt=1, text="two\nlines", created_at=BEGAN)
    )
    await state.happen(job_id, rewound=job_pb2.Rewind(to_step=0, attempt=2, reason="lost"))
    await state.become(job_id, SUCCEEDED)
    seen = await events(client, job_id)
    assert [(block["event"], block["id"]) for block in seen] == [
        ("state", "c-1"),
        ("metrics", "c-2"),
        ("checkpoint", "c-3"),
        ("log", "c-4"),
        ("rewound", "c-5"),
        ("state", "c-6"),
    ]
    assert_shape(seen[0]["data"], "JobSummary")
    assert seen[-1]["data"]["status"] == "succeeded"
    assert_shape(seen[1]["data"], "MetricPoint")
    assert (seen[1]["data"]["loss"], seen[1]["data"]["val_loss"]) == (4.0, None)
    assert_shape(seen[3]["data"], "LogLine")
    assert seen[3]["data"]["text"] == "two\nlines"
    assert_shape(seen[4]["data"], "Rewind")
    assert seen[4]["data"]["to_step"] == 0


async def test_a_live_job_is_followed_with_pings_until_its_end(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await started(client)
    async with client.stream("GET", f"{API}/jobs/{job_id}/stream") as response:
        feed = blocks(response)
        assert (await anext(feed))["event"] == "state"
        assert await anext(feed) == {"comment": "ping"}
        await state.log_step(job_id, 7, loss=1.0)
        block = await anext(feed)
        while "comment" in block:
            block = await anext(feed)
        assert (block["event"], block["data"]["step"]) == ("metrics", 7)
        await state.become(job_id, SUCCEEDED)
        rest = [block async for block in feed if "event" in block]
    assert [block["data"]["status"] for block in rest] == ["succeeded"]


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_cursor_continues_without_loss_or_repetition(
    client: httpx.AsyncClient, state: State, way: str
) -> None:
    job_id = await started(client)
    for step in (1, 2, 3):
        await state.log_step(job_id, step, loss=1.0)
    await state.become(job_id, SUCCEEDED)
    options: dict[str, Any] = (
        {"headers": {"Last-Event-ID": "c-2"}} if way == "header" else {"params": {"after": "c-2"}}
    )
    seen = await events(client, job_id, **options)
    assert [block["id"] for block in seen] == ["c-3", "c-4", "c-5"]


async def test_a_page_that_knows_the_history_is_spared_it(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await started(client)
    for step in (1, 2, 3):
        await state.log_step(job_id, step, loss=1.0)
    await state.become(job_id, SUCCEEDED)
    seen = await events(client, job_id, params={"after_step": 2})
    assert [(block["event"], block["id"]) for block in seen] == [
        ("state", "c-1"),
        ("metrics", "c-4"),
        ("state", "c-5"),
    ]
    asked = [request for request in state.requests if isinstance(request, job_pb2.WatchJobRequest)]
    assert asked[-1].after_step == 2  # left out at the source, not on the way


async def test_every_known_step_is_sent_where_nothing_is_left_out(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await started(client)
    await state.become(job_id, SUCCEEDED)
    await events(client, job_id)
    asked = [request for request in state.requests if isinstance(request, job_pb2.WatchJobRequest)]
    assert not asked[-1].HasField("after_step")


async def test_a_reconnect_past_the_end_gets_204(client: httpx.AsyncClient, state: State) -> None:
    job_id = await started(client)
    await state.become(job_id, SUCCEEDED)
    last = (await events(client, job_id))[-1]["id"]
    again = await client.get(f"{API}/jobs/{job_id}/stream", headers={"Last-Event-ID": last})
    assert (again.status_code, again.content) == (204, b"")


@pytest.mark.parametrize("ended", [False, True])
async def test_a_foreign_cursor_is_refused_by_status(
    client: httpx.AsyncClient, state: State, ended: bool
) -> None:
    job_id = await started(client)
    if ended:
        await state.become(job_id, SUCCEEDED)
    refused = await client.get(f"{API}/jobs/{job_id}/stream", headers={"Last-Event-ID": "zzz"})
    assert refused.status_code == 400
    assert refused.json()["reason"] == "invalid_cursor"
    await eventually(lambda: state.open_watches == 0)


async def test_a_client_that_leaves_ends_its_watch(client: httpx.AsyncClient, state: State) -> None:
    job_id = await started(client)
    async with client.stream("GET", f"{API}/jobs/{job_id}/stream") as response:
        feed = blocks(response)
        await anext(feed)
        assert state.open_watches == 1
        text = (await client.get("/metrics")).text
        assert "training_engine_gateway_open_streams 1.0" in text
    await eventually(lambda: state.open_watches == 0)


async def test_a_restarted_control_plane_goes_unnoticed(unused_port: int) -> None:
    state = State()
    async with gateway_for(unused_port, ping_seconds=0.2) as url, client_for(url) as client:
        async with serving(state, unused_port):
            job_id = await started(client)
            await state.log_step(job_id, 1, loss=1.0)
            stream = client.stream("GET", f"{API}/jobs/{job_id}/stream")
            response = await stream.__aenter__()
            feed = blocks(response)
            assert [(await anext(feed))["event"] for _ in range(2)] == ["state", "metrics"]
        await state.log_step(job_id, 2, loss=0.9)  # while no control plane serves
        async with serving(state, unused_port):
            await state.become(job_id, SUCCEEDED)
            rest = [block async for block in feed if "event" in block]
            await stream.__aexit__(None, None, None)
    assert [block["id"] for block in rest] == ["c-3", "c-4"]


async def test_shutdown_ends_streams_at_once(control_plane_port: int, state: State) -> None:
    async with client_for("http://unused") as client:
        async with gateway_for(control_plane_port) as url:
            client.base_url = httpx.URL(url)
            job_id = await started(client)
            stream = client.stream("GET", f"{API}/jobs/{job_id}/stream")
            response = await stream.__aenter__()
            feed = blocks(response)
            await anext(feed)
            leaving = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - leaving < 1.5
        assert [block async for block in feed if "event" in block] == []
        await stream.__aexit__(None, None, None)


async def test_too_many_streams_are_429(control_plane_port: int) -> None:
    async with gateway_for(control_plane_port, max_streams=1) as url, client_for(url) as client:
        job_id = await started(client)
        async with client.stream("GET", f"{API}/jobs/{job_id}/stream") as response:
            feed = blocks(
                response
            )  # kept: a feed without a reference is closed, and its stream too
            await anext(feed)
            refused = await client.get(f"{API}/jobs/{job_id}/stream")
            assert (refused.status_code, refused.json()["reason"]) == (429, "rate_limited")
            assert refused.headers["retry-after"] == "2"


async def test_tokens_arrive_one_by_one(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck", "job", 1, b"w")
    body = {"prompt": "", "max_tokens": 3}
    async with client.stream("POST", f"{API}/checkpoints/ck/generate", json=body) as response:
        seen = [block async for block in blocks(response)]
    assert [block["event"] for block in seen] == ["token"] * 3
    assert [block["data"]["text"] for block in seen] == ["A", "B", "C"]
    assert [block["data"]["finish_reason"] for block in seen] == [None, None, "length"]


async def test_progress_comes_as_events(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck", "job", 1, b"w")
    body = {"dataset_path": "/d/a.txt", "stride": 3, "averaged": True}
    async with client.stream("POST", f"{API}/checkpoints/ck/evaluate", json=body) as response:
        seen = [block async for block in blocks(response)]
    half = {"tokens_done": 4, "tokens_total": 9, "evaluation": None}
    whole = {
        "tokens_done": 9,
        "tokens_total": 9,
        "evaluation": {**EVALUATION, "bits_per_byte": None},
    }
    assert [(block["event"], block["data"]) for block in seen] == [
        ("progress", half),
        ("progress", whole),
    ]
    asked = state.requests[-1]
    assert (asked.dataset_path, asked.stride, asked.averaged) == ("/d/a.txt", 3, True)


@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_ends_the_sampling(
    client: httpx.AsyncClient, state: State, streamed: bool
) -> None:
    state.add_checkpoint("ck", "job", 1, b"w")
    state.token_delay = 0.05
    body = {"max_tokens": 100_000, "stream": streamed}
    asking = asyncio.create_task(client.post(f"{API}/checkpoints/ck/generate", json=body))
    await eventually(lambda: state.open_generations == 1)
    asking.cancel()
    await asyncio.wait({asking})
    await eventually(lambda: state.open_generations == 0)
