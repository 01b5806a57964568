"""One of several processes of a job is killed, or a worker; it ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import Cluster
from running_stack import wait_until
from undisturbed import CONFIG, PACE_SECONDS, Result, assert_same, result_of, wait_for_step

from training_engine import Job

pytestmark = pytest.mark.slow

SPREAD: dict[str, Any] = CONFIG | {
    "max_steps": 70,
    "eval_steps": 30,
    "distributed": {"strategy": "ddp"},
}
TWO = {"processes": 2}
WORKERS = ("worker", "worker-2")


@pytest.fixture(scope="module")
def expected(shared: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What two processes come to on one node when nothing happens."""
    shared.pace.set(0)
    with shared.engine() as engine:
        text = str(shared.folder / "text.txt")
        job = engine.jobs.start(config=SPREAD, dataset_path=text, execution=TWO)
        result = result_of(engine, job, tmp_path_factory.mktemp("two"))
    assert [row[0] for row in result.history] == list(range(1, 71))
    return result


def second_rank(services: Cluster) -> psutil.Process | None:
    """The process that trains beside the one with the spool."""
    first = services.trainer()
    if first is None or (launcher := first.parent()) is None:
        return None
    others = [child for child in launcher.children() if child.pid != first.pid]
    return others[0] if len(others) == 1 else None


def test_a_killed_rank_loses_nothing(expected: Result, services: Cluster, tmp_path: Path) -> None:
    text = str(services.folder / "text.txt")
    with services.engine() as engine:
        job = engine.jobs.start(config=SPREAD, dataset_path=text, execution=TWO)
        wait_for_step(job, 30)
        wait_until(lambda: second_rank(services), "a second process").kill()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 2
        assert engine.jobs.get(job.job_id).execution.processes == 2


def claimer(services: Cluster) -> str:
    """The worker that has claimed the attempt: rank 0 is among its processes."""
    return wait_until(
        lambda: next((name for name in WORKERS if services.trainer(name)), ""), "a trainer"
    )


def rank_of_place(services: Cluster) -> psutil.Process | None:
    """The process that trains on the worker without rank 0."""
    other = WORKERS[1 - WORKERS.index(claimer(services))]
    children = psutil.Process(services.processes[other].pid).children()
    ranks = [rank for child in children for rank in child.children()]
    return ranks[0] if ranks else None


def wait_for_attempt(job: Job, attempt: int, step: int) -> None:
    wait_until(lambda: job.refresh().attempt >= attempt, f"attempt {attempt}", 30)
    wait_for_step(job, step)


def test_a_killed_worker_or_rank_of_two_nodes_loses_nothing(
    expected: Result, services: Cluster, tmp_path: Path
) -> None:
    services.start("worker-2")
    services.pace.set(PACE_SECONDS)
    with services.engine() as engine:
        text = str(services.folder / "text.txt")
        job = engine.jobs.start(config=SPREAD, dataset_path=text, execution={"nodes": 2})
        wait_for_step(job, 22)
        with_claim = claimer(services)
        services.kill(with_claim)
        services.start(with_claim)
        wait_for_attempt(job, 2, 45)
        wait_until(lambda: rank_of_place(services), "a process of the place").kill()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt >= 3
    for name in WORKERS:  # each tokenized for itself
        assert list((services.folder / "caches" / name / "tokens").glob("*/tokens.bin"))
