"""Watchers by both doors, blocking and asyncio, while everything between them and the job dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cluster import Cluster
from running_stack import wait_until
from undisturbed import CONFIG, NEVER_GIVE_UP, Result, Row, wait_for_step

from training_engine import AsyncTrainingEngine, JobEvent, MetricPoint, TrainingEngine

pytestmark = pytest.mark.slow
PATIENCE: dict[str, Any] = {"retry_for": 60, "reconnect_for": 120}


def row(point: MetricPoint) -> Row:
    return point.step, point.loss, point.lr, point.grad_norm, point.val_loss


def followed(engine: TrainingEngine, job_id: str) -> list[Row]:
    with engine:
        return [row(point) for point in engine.metrics.stream(job_id)]


def watched(engine: TrainingEngine, job_id: str) -> list[Row]:
    """The points among all events, corrected by what rewinds said."""
    points: dict[int, Row] = {}
    with engine:
        for event in engine.jobs.watch(job_id):
            _take(points, event)
    return list(points.values())


def _take(points: dict[int, Row], event: JobEvent) -> None:
    if event.kind == "rewound":
        for step in [step for step in points if step > event.data.to_step]:  # type: ignore[union-attr]
            del points[step]
    elif isinstance(event.data, MetricPoint):
        assert event.data.step not in points, f"step {event.data.step} came twice"
        points[event.data.step] = row(event.data)


def followed_by_asyncio(make: Callable[[], AsyncTrainingEngine], job_id: str) -> list[Row]:
    async def run() -> list[Row]:
        async with make() as engine:
            return [row(point) async for point in engine.metrics.stream(job_id)]

    return asyncio.run(run())


def watched_by_asyncio(make: Callable[[], AsyncTrainingEngine], job_id: str) -> list[Row]:
    async def run() -> list[Row]:
        points: dict[int, Row] = {}
        async with make() as engine:
            async for event in engine.jobs.watch(job_id):
                _take(points, event)
        return list(points.values())

    return asyncio.run(run())


def test_every_watcher_sees_each_step_once(services: Cluster, expected: Result) -> None:
    address = f"127.0.0.1:{services.ports['control-plane']}"

    def grpc() -> TrainingEngine:
        return TrainingEngine(address, **PATIENCE)

    def rest() -> TrainingEngine:
        return TrainingEngine.over_rest(services.url, **PATIENCE)

    def aio_grpc() -> AsyncTrainingEngine:
        return AsyncTrainingEngine(address, **PATIENCE)

    def aio_rest() -> AsyncTrainingEngine:
        return AsyncTrainingEngine.over_rest(services.url, **PATIENCE)

    with grpc() as engine, ThreadPoolExecutor(8) as threads:
        job = engine.jobs.start(
            config=CONFIG,
            dataset_path=str(services.folder / "text.txt"),
            execution=NEVER_GIVE_UP,
        )
        watchers = {
            **{f"{make.__name__} metrics": threads.submit(followed, make(), job.job_id)
               for make in (grpc, rest)},
            **{f"{make.__name__} events": threads.submit(watched, make(), job.job_id)
               for make in (grpc, rest)},
            **{f"{make.__name__} metrics": threads.submit(followed_by_asyncio, make, job.job_id)
               for make in (aio_grpc, aio_rest)},
            **{f"{make.__name__} events": threads.submit(watched_by_asyncio, make, job.job_id)
               for make in (aio_grpc, aio_rest)},
        }  # fmt: skip
        wait_for_step(job, 30)
        _restart(services, "control-plane", signal.SIGKILL)
        wait_for_step(job, 65)
        _restart(services, "gateway", signal.SIGKILL)
        wait_for_step(job, 100)
        _restart(services, "gateway", signal.SIGTERM)
        wait_for_step(job, 135)
        _restart(services, "control-plane", signal.SIGTERM)
        wait_for_step(job, 170)
        _restart(services, "worker", signal.SIGKILL)
        # It leaves in order, and the job may end before it is back.
        wait_for_step(job, CONFIG["max_steps"] - 20)
        services.signal("gateway", signal.SIGTERM)
        services.processes["gateway"].wait(timeout=30)
        done = job.wait(timeout=120)
        services.start("gateway")
        assert done.status == "succeeded", done.error
        for name, watcher in watchers.items():
            assert watcher.result(timeout=60) == expected.history, name


def _restart(services: Cluster, victim: str, by: signal.Signals) -> None:
    services.signal(victim, by)
    process = services.processes[victim]
    wait_until(lambda: process.poll() is not None, f"the end of {victim}")
    services.start(victim)
