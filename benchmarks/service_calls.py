"""How many calls a control plane answers, and how long a page of many jobs takes.

GetJob is compared with a bare grpc.aio echo in a process of its own; both are called by the same
client, in turn. Every call to the control plane carries a token that it checks.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import redis

from benchmarks.harness import Claim, describe, interleave, medians
from benchmarks.service_processes import (
    LARGE_MESSAGES,
    METADATA,
    Services,
    calls_per_second,
    latencies_at,
    load,
    percentile,
    services,
)
from benchmarks.service_start import TINY
from job_store.codec import new_job_fields
from job_store.connection import DEFAULT_PREFIX
from job_store.ids import new_id
from job_store.records import NewJob
from job_store.scripts import script
from training_engine.v1 import job_pb2, job_pb2_grpc

CALLS, ROUNDS, CONCURRENCY = 2_000, 7, 32
STARTS = 500
STEADY_RATE, STEADY_SECONDS = 100, 10
SEARCHED, PAGES = 10_000, 20
NO_BASE = ("", "", "")
"""Of a job that goes on from no checkpoint, in the arguments of `create_job`."""
JOBS, PAGE = int(os.environ.get("BENCHMARK_JOBS", "100000")), 50
ECHO = "/benchmark.Echo/Echo"


def run(device: str) -> list[Claim]:
    """Measure rates and latencies at the control plane; no worker runs."""
    return [_get_job(), *_start_job(), _list_jobs(), *_search_jobs()]


def _get_job() -> Claim:
    with services() as stack, echo_server() as echo, asyncio.Runner() as loop:
        client = Client(loop, stack.address, echo)
        request = job_pb2.GetJobRequest(job_id=stack.start_job(TINY))
        client.rate(lambda: client.jobs.GetJob(request, metadata=METADATA), CALLS // 4)
        figures = interleave(
            {
                "echo": lambda: client.rate(lambda: client.echo(b"x" * 30), CALLS),
                "GetJob": lambda: client.rate(
                    lambda: client.jobs.GetJob(request, metadata=METADATA), CALLS
                ),
            },
            ROUNDS,
        )
        client.close()
    rate = medians(figures)
    detail = f"{describe(figures, '/s')}, {CONCURRENCY} at a time, {load()}"
    return Claim(
        "GetJob / bare grpc.aio echo", rate["GetJob"] / rate["echo"], 0.4, True, "x", detail
    )


def _start_job() -> list[Claim]:
    with services() as stack, asyncio.Runner() as loop:
        client = Client(loop, stack.address, stack.address)
        request = job_pb2.StartJobRequest(
            config_document=json.dumps(TINY), dataset_path=str(stack.text)
        )

        def rate() -> float:
            return client.rate(lambda: client.jobs.StartJob(request, metadata=METADATA), STARTS)

        rate()
        before = stack.cpu_seconds("control_plane")
        rates = [rate() for _ in range(ROUNDS)]
        cpu = (stack.cpu_seconds("control_plane") - before) / (ROUNDS * STARTS)
        seconds = client.latencies(
            lambda: client.jobs.StartJob(request, metadata=METADATA),
            STEADY_RATE,
            STEADY_RATE * STEADY_SECONDS,
        )
        client.close()
    detail = (
        f"{min(rates):.0f}–{max(rates):.0f} /s, {CONCURRENCY} at a time, CPU of the control plane "
        f"{1000 * cpu:.2f} ms a call, {load()}"
    )
    median, p99 = (1000 * percentile(seconds, percent) for percent in (50, 99))
    steady = f"{len(seconds)} calls, one every {1000 / STEADY_RATE:g} ms, median {median:.1f} ms"
    return [
        Claim("StartJob", statistics.median(rates), 200, True, "/s", detail),
        Claim(f"StartJob at {STEADY_RATE}/s, p99", p99, 50, False, "ms", f"{steady}, {load()}"),
    ]


def _list_jobs() -> Claim:
    with services() as stack:
        job_id = stack.start_job(TINY)
        store_jobs(stack, job_id, JOBS)
        channel = grpc.insecure_channel(stack.address, options=LARGE_MESSAGES)
        jobs = job_pb2_grpc.JobServiceStub(channel)
        request, seconds, seen = job_pb2.ListJobsRequest(page_size=PAGE), [], 0
        while True:
            started = time.perf_counter()
            page = jobs.ListJobs(request, metadata=METADATA)
            seconds.append(time.perf_counter() - started)
            seen += len(page.jobs)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        channel.close()
    assert seen == JOBS + 1, f"the pages hold {seen} jobs of {JOBS + 1}"
    detail = (
        f"{len(seconds)} pages of {PAGE}, every one of the list, "
        f"median {1000 * statistics.median(seconds):.1f} ms, {load()}"
    )
    p99 = 1000 * percentile(seconds, 99)
    return Claim(f"a page of ListJobs out of {JOBS:,}, p99", p99, 20, False, "ms", detail)


def _search_jobs() -> list[Claim]:
    """Measure first pages that look at half of the jobs, and at all of them."""
    with services() as stack:
        store_jobs(stack, stack.start_job(TINY), SEARCHED, tag_each=100)
        channel = grpc.insecure_channel(stack.address, options=LARGE_MESSAGES)
        jobs = job_pb2_grpc.JobServiceStub(channel)
        tagged = job_pb2.ListJobsRequest(page_size=PAGE, tags=["rare"])
        absent = job_pb2.ListJobsRequest(page_size=PAGE, search="not there")
        claims = [
            _first_page(stack, jobs, tagged, PAGE, "the first page of a tag"),
            _first_page(stack, jobs, absent, 0, "a search that finds nothing"),
        ]
        channel.close()
    return claims


def _first_page(
    stack: Services, jobs: Any, request: job_pb2.ListJobsRequest, rows: int, what: str
) -> Claim:
    seconds = []
    before = stack.cpu_seconds("control_plane")
    for _ in range(PAGES):
        started = time.perf_counter()
        page = jobs.ListJobs(request, metadata=METADATA)
        seconds.append(time.perf_counter() - started)
        assert len(page.jobs) == rows, f"{len(page.jobs)} rows of {rows}"
    cpu = (stack.cpu_seconds("control_plane") - before) / PAGES
    detail = f"{PAGES} calls, CPU of the control plane {1000 * cpu:.1f} ms a call, {load()}"
    median = 1000 * statistics.median(seconds)
    return Claim(f"{what} out of {SEARCHED:,} jobs, median", median, 300, False, "ms", detail)


def store_jobs(stack: Services, example: str, count: int, tag_each: int = 0) -> None:
    """Store jobs as the control plane would, in bulk; ended ones, so that no worker takes them.

    `tag_each`: one in so many gets the tag `rare`.
    """
    create, stop = script("create_job"), script("stop_job")
    document = json.dumps(TINY)
    plain = NewJob(document, max_steps=5, dataset_path=str(stack.text))
    rare = replace(plain, tags=("rare",), user_notes="One of the few that have a tag.")
    with redis.Redis.from_url(stack.redis_url) as client:
        for text in (create.text, stop.text):
            client.script_load(text)
        for done in range(0, count, 500):
            pipeline = client.pipeline(transaction=False)
            for number in range(done, min(done + 500, count)):
                fields = new_job_fields(rare if tag_each and number % tag_each == 0 else plain)
                job_id = new_id("job")
                for sha, extra in ((create.sha, [document, *NO_BASE, *fields]), (stop.sha, [])):
                    memo = (f"{DEFAULT_PREFIX}request:{secrets.token_hex(12)}", "-", 1)
                    pipeline.execute_command(
                        "EVALSHA", sha, 0, DEFAULT_PREFIX, job_id, *memo, *extra
                    )
            pipeline.execute()


class Client:
    """One grpc.aio client for both servers."""

    def __init__(self, loop: asyncio.Runner, address: str, echo_address: str) -> None:
        self._loop = loop
        loop.run(self._connect(address, echo_address))

    async def _connect(self, address: str, echo_address: str) -> None:
        self._channels = [grpc.aio.insecure_channel(target) for target in (address, echo_address)]
        self.jobs: Any = job_pb2_grpc.JobServiceStub(self._channels[0])
        self.echo: Any = self._channels[1].unary_unary(ECHO)

    def rate(self, call: Callable[[], Awaitable[Any]], count: int) -> float:
        """Return the calls a second."""
        return self._loop.run(calls_per_second(call, count, CONCURRENCY))

    def latencies(self, call: Callable[[], Awaitable[Any]], rate: float, count: int) -> list[float]:
        """Return the seconds of each of `count` calls, begun at this rate whatever they take."""
        return self._loop.run(latencies_at(call, rate, count))

    def close(self) -> None:
        """Let go of the connections."""
        for channel in self._channels:
            self._loop.run(channel.close())


@contextmanager
def echo_server() -> Iterator[str]:
    """Run a bare grpc.aio server in its own process; yield its address."""
    command = [sys.executable, "-m", "benchmarks.service_calls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _serve_echo() -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    handlers: Any = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Echo", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve_echo())
