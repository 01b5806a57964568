"""From the call that submits a job to the first optimizer step of a tiny model, on a warm worker.

The clock starts before StartJob and stops when the first step's metrics have come back through
StreamMetrics, so it holds the queue, the claim, the fork, the data, the model, the step and the
way back to the watcher.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.harness import Claim
from benchmarks.service_processes import Services, load, services
from training_engine.v1 import metrics_pb2

RUNS = 9
TINY: dict[str, Any] = {
    "model_config": {
        "vocab_size": 256,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 32,
    },
    "batch_size": 4,
    "learning_rate": 0.001,
    "warmup_steps": 1,
    "max_steps": 5,
    "logging_steps": 1,
    "device": "cpu",
}


def run(device: str) -> list[Claim]:
    """Measure the median of the seconds; always on the CPU, since the service is measured."""
    with services() as stack:
        stack.start_worker("worker")
        first_step(stack)  # the first fork of all warms up caches of the file system
        seconds = [first_step(stack) for _ in range(RUNS)]
    return [
        Claim(
            "submit to first optimizer step, warm worker",
            statistics.median(seconds),
            0.5,
            False,
            "s",
            f"{RUNS} runs, {min(seconds):.3f}–{max(seconds):.3f} s, {load()}",
        )
    ]


def first_step(stack: Services) -> float:
    """Measure the seconds of one run; return when its worker is free again."""
    started = time.perf_counter()
    job_id = stack.start_job(TINY)
    points = stack.metrics("StreamMetrics", metrics_pb2.StreamMetricsRequest(job_id=job_id))
    point = next(points).point
    seconds = time.perf_counter() - started
    assert point.step == 1, f"the first point is of step {point.step}"
    points.cancel()
    stack.wait_for_end(job_id)
    return seconds
