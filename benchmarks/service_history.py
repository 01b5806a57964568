"""What a logged step costs in Redis, and how long a chart of a million of them takes.

Points are published through the store that workers use, with the nine fields of a training step.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterator

import redis

from benchmarks.harness import Claim
from benchmarks.service_processes import Services, load, services
from benchmarks.service_start import TINY
from job_store.attempts import AttemptStore
from job_store.connection import DEFAULT_PREFIX, Connection
from job_store.history_records import MetricPoint
from training_engine.v1 import metrics_pb2

MEMORY_STEPS = 50_000
CHART_STEPS = int(os.environ.get("BENCHMARK_CHART_STEPS", "1000000"))
BUCKETS, CHARTS = 1_000, 30
CONFIG = TINY | {"max_steps": 10_000_000}


def run(device: str) -> list[Claim]:
    """Measure bytes a step, and milliseconds a chart."""
    with services() as stack:
        return [_memory(stack), _chart(stack)]


def _memory(stack: Services) -> Claim:
    with redis.Redis.from_url(stack.redis_url) as client:
        job_id = stack.start_job(CONFIG)
        before = client.info("memory")["used_memory"]
        publish(stack, job_id, MEMORY_STEPS)
        grown = client.info("memory")["used_memory"] - before
        prefix = f"{DEFAULT_PREFIX}job:{job_id}"
        summaries = sum(
            client.memory_usage(key, samples=0) for key in client.scan_iter(f"{prefix}:summary:*")
        )
        points = client.memory_usage(f"{prefix}:metrics:1", samples=0)
    detail = (
        f"the stream alone {points / MEMORY_STEPS:.1f}, summaries "
        f"{summaries / MEMORY_STEPS:.1f}; {MEMORY_STEPS:,} steps"
    )
    value = (grown - summaries) / MEMORY_STEPS
    return Claim("Redis memory of a step with 9 fields", value, 130, False, "bytes", detail)


def _chart(stack: Services) -> Claim:
    job_id = stack.start_job(CONFIG)
    publish(stack, job_id, CHART_STEPS)
    # Each bucket comes as two points: what is lowest and what is highest in it.
    request = metrics_pb2.ListMetricsRequest(job_id=job_id, max_points=2 * BUCKETS)
    seconds, points = [], 0
    for _ in range(CHARTS):
        started = time.perf_counter()
        points = len(stack.metrics("ListMetrics", request).points)
        seconds.append(time.perf_counter() - started)
    assert points > BUCKETS, f"the chart has only {points} points"
    detail = (
        f"{CHARTS} charts of {points} points, "
        f"{1000 * min(seconds):.1f}–{1000 * max(seconds):.1f} ms, {load()}"
    )
    median = 1000 * statistics.median(seconds)
    name = f"a chart of {CHART_STEPS:,} steps in {BUCKETS:,} buckets"
    return Claim(name, median, 50, False, "ms", detail)


def publish(stack: Services, job_id: str, steps: int, shape: float = 1.0) -> None:
    """Claim the job's attempt and publish points of a plausible run; `shape` tells runs apart."""
    connection = Connection.open(stack.redis_url)
    store = AttemptStore(connection)
    claimed = store.claim(job_id, 1, "benchmark")
    assert claimed is not None, f"attempt 1 of {job_id} was taken by another worker"
    store.confirm_start(claimed.token, 0)
    batch: list[MetricPoint] = []
    for point in _points(steps, shape):
        batch.append(point)
        if len(batch) == 500 or point.step == steps:
            store.publish_metrics(claimed.token, batch)
            store.renew_lease(claimed.token)
            batch.clear()
    connection.close()


def _points(steps: int, shape: float) -> Iterator[MetricPoint]:
    for step in range(1, steps + 1):
        loss = shape * (1.5 + 3 * math.exp(-step / 10_000)) + 0.1 * math.sin(step * 12.9898)
        values = {
            "loss": loss,
            "perplexity": math.exp(loss),
            "lr": 6e-4 * (1 - step / (2 * steps)),
            "grad_norm": 0.5 + 0.3 * math.sin(step * 78.233),
            "tokens_per_second": 13_000 + 500 * math.sin(step),
            "steps_per_second": 17 + math.sin(step),
            "tokens_seen": float(768 * step),
            "gpu_memory_allocated_gb": 1.25,
            "mfu": 0.41 + 0.01 * math.sin(step),
        }
        yield MetricPoint(step, values, 1_750_000_000_000 + 59 * step)
