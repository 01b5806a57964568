"""From the SIGKILL of a worker to the next training step of its job, at default settings.

A second worker waits idle. The killed worker takes its trainer along; the lease has to run out
first, so most of the time is waiting by design.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.harness import Claim
from benchmarks.service_processes import Services, load, services
from benchmarks.service_start import TINY
from training_engine.v1 import metrics_pb2

ROUNDS = 3
CONFIG = TINY | {"max_steps": 1_000_000, "save_steps": 200, "eval_steps": 1_000_000}


def run(device: str) -> list[Claim]:
    """Measure the median of the seconds; always on the CPU."""
    with services() as stack:
        for name in ("worker-0", "worker-1"):
            stack.start_worker(name, "--workers-on-host=2")
        seconds = [recovery(stack, number) for number in range(ROUNDS)]
    return [
        Claim(
            "SIGKILL of a worker to its job's next training step",
            statistics.median(seconds),
            20.0,
            False,
            "s",
            f"{ROUNDS} kills, {min(seconds):.1f}–{max(seconds):.1f} s, lease 15 s, {load()}",
        )
    ]


def recovery(stack: Services, number: int) -> float:
    """Measure the seconds of one kill; afterwards two workers are idle again."""
    job_id = stack.start_job(CONFIG)
    request = metrics_pb2.StreamMetricsRequest(job_id=job_id)
    points = stack.metrics("StreamMetrics", request)
    # Past a checkpoint, and at another moment of the lease's renewal in each round.
    next(answer for answer in points if answer.point.step >= 500 + 400 * number)
    victim = stack.job(job_id).worker_id
    killed = time.perf_counter()
    stack.kill(victim)
    answer = next(answer for answer in points if answer.point.attempt == 2)
    seconds = time.perf_counter() - killed
    assert answer.point.step > 1, "the second attempt began afresh: no checkpoint was registered"
    points.cancel()
    stack.stop_job(job_id)
    stack.start_worker(f"worker-{number + 2}", "--workers-on-host=2")
    return seconds
