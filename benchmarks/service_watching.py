"""How long a metric takes from its publisher to those who watch, and to a thousand of them.

A small process plays a trainer that sleeps between its steps: it claims the attempt and publishes
each point through the store that workers use. The moment of publishing travels in the point (as
its loss, seconds of the machine's monotonic clock), so latency is receive time minus that.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from benchmarks.harness import Claim
from benchmarks.service_processes import METADATA, Services, load, percentile, services
from benchmarks.service_start import TINY
from training_engine.v1 import metrics_pb2

CHANNELS = 8
WATCHERS = int(os.environ.get("BENCHMARK_WATCHERS", "1000"))
CONFIG = TINY | {"max_steps": 1_000_000, "eval_steps": 1_000_000}
STREAM = "/training_engine.v1.MetricsService/StreamMetrics"
FIELDS = (
    "lr", "grad_norm", "perplexity", "tokens_per_second", "steps_per_second", "tokens_seen",
    "gpu_memory_allocated_gb", "mfu",
)  # fmt: skip


def run(device: str) -> list[Claim]:
    """Measure the 99th percentile of the latencies, in milliseconds."""
    return [
        _claim(watchers=1, steps=400, steps_per_second=20.0, bound_ms=20.0),
        _claim(watchers=WATCHERS, steps=40, steps_per_second=2.0, bound_ms=250.0),
    ]


def _claim(watchers: int, steps: int, steps_per_second: float, bound_ms: float) -> Claim:
    with services() as stack:
        job_id = stack.start_job(CONFIG)
        control, server = stack.cpu_seconds("control_plane"), stack.cpu_seconds("redis")
        mine = time.process_time()
        latencies = asyncio.run(_watch(stack, job_id, watchers, steps, steps_per_second))
        control = stack.cpu_seconds("control_plane") - control
        server = stack.cpu_seconds("redis") - server
        mine = time.process_time() - mine
    detail = (
        f"{steps} steps at {steps_per_second:g}/s over {min(watchers, CHANNELS)} channels, "
        f"median {percentile(latencies, 50):.1f} ms, max {max(latencies):.1f} ms; CPU seconds: "
        f"control plane {control:.1f}, Redis {server:.1f}, watchers {mine:.1f}; {load()}"
    )
    name = "one watcher" if watchers == 1 else f"{watchers:,} watchers"
    return Claim(f"metric to {name}, p99", percentile(latencies, 99), bound_ms, False, "ms", detail)


async def _watch(
    stack: Services, job_id: str, watchers: int, steps: int, steps_per_second: float
) -> list[float]:
    """Return the latencies in milliseconds of all points at all watchers."""
    channels = [
        grpc.aio.insecure_channel(stack.address, options=(("grpc.use_local_subchannel_pool", 1),))
        for _ in range(min(watchers, CHANNELS))
    ]
    openers: list[Any] = [channel.unary_stream(STREAM) for channel in channels]
    request = metrics_pb2.StreamMetricsRequest(job_id=job_id).SerializeToString()
    with sleeping_trainer(stack, job_id, steps, steps_per_second) as trainer:
        streams: list[Any] = [
            # Raw bytes: decoding a thousand copies is not what a watcher on its own machine does.
            opener(request, metadata=METADATA)
            for opener in itertools.islice(itertools.cycle(openers), watchers)
        ]
        received: list[tuple[float, bytes]] = []
        reached = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(_receive(s, received, reached, steps)) for s in streams]
        for _ in tasks:
            await reached.acquire()  # everybody has seen the first point, published before all
        received.clear()
        assert trainer.stdin is not None
        trainer.stdin.close()
        await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    assert len(received) == watchers * steps, f"{len(received)} points came"
    decode = metrics_pb2.StreamMetricsResponse.FromString
    published = {raw: decode(raw).point.loss for raw in {raw for _, raw in received}}
    return [1000 * (moment - published[raw]) for moment, raw in received]


async def _receive(
    stream: Any, received: list[tuple[float, bytes]], reached: asyncio.Semaphore, steps: int
) -> None:
    first = True
    for _ in range(steps + 1):
        raw = await stream.read()
        received.append((time.monotonic(), raw))
        if first:
            reached.release()
        first = False
    stream.cancel()


@contextmanager
def sleeping_trainer(
    stack: Services, job_id: str, steps: int, steps_per_second: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that publishes a point, waits until its input ends, publishes the rest."""
    command = [sys.executable, "-m", "benchmarks.service_watching"]
    with subprocess.Popen(
        [*command, job_id, str(steps), str(steps_per_second)],
        stdin=subprocess.PIPE,
        env=os.environ | {"TRAINING_ENGINE_REDIS_URL": stack.redis_url},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _train(job_id: str, steps: int, steps_per_second: float) -> None:
    from job_store.attempts import AttemptStore
    from job_store.connection import Connection
    from job_store.history_records import MetricPoint

    store = AttemptStore(Connection.open(os.environ["TRAINING_ENGINE_REDIS_URL"]))
    claimed = store.claim(job_id, 1, "sleeping-trainer")
    assert claimed is not None, f"attempt 1 of {job_id} was taken by another worker"
    store.confirm_start(claimed.token, 0)

    def publish(step: int) -> None:
        values = {"loss": time.monotonic()} | dict.fromkeys(FIELDS, step / 3)
        point = MetricPoint(step, values, int(time.time() * 1000))
        store.publish_metrics(claimed.token, [point])

    publish(1)
    renewed = 0.0
    sys.stdin.read()
    start = time.monotonic()
    for number in range(steps):
        time.sleep(max(0.0, start + number / steps_per_second - time.monotonic()))
        publish(number + 2)
        if time.monotonic() - renewed > 3:
            store.renew_lease(claimed.token)
            renewed = time.monotonic()


if __name__ == "__main__":
    _train(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
