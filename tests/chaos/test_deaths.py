"""Deaths are seen at once, and only deaths: what looks like one ends no attempt.

`make check-deaths` runs this with the lease of the default settings and with troubles as long as in
life: a Redis that is away for a minute.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from proxied import WORKERS, ProxiedCluster
from running_stack import wait_until

from training_engine import Job, TrainingEngine


@dataclass(frozen=True)
class Lengths:
    """How long everything lasts, in seconds."""

    lease: float
    renewal: float
    frozen: float
    cut_off: float
    one_way: float
    """The way from the worker to Redis, or back."""
    slow: float
    away: float
    """How long there is no Redis."""


SHORT = Lengths(lease=6, renewal=0.2, frozen=2, cut_off=1, one_way=1, slow=8, away=0)
AS_IN_LIFE = Lengths(lease=15, renewal=3, frozen=10, cut_off=10, one_way=2, slow=40, away=60)
CONFIG = {
    "model_config": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 256},
    "batch_size": 2,
    "sequence_length": 16,
    "max_steps": 1_000_000,
    "warmup_steps": 1,
    "logging_steps": 1,
    "save_steps": 50,
    "eval_steps": 1_000_000,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def lengths(request: pytest.FixtureRequest) -> Lengths:
    return AS_IN_LIFE if request.config.getoption("as_in_life", False) else SHORT


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, lengths: Lengths
) -> Iterator[ProxiedCluster]:
    folder = tmp_path_factory.mktemp("recovery")
    cluster = ProxiedCluster(folder)
    try:
        (folder / "artifacts").mkdir(exist_ok=True)
        (folder / "text.txt").write_text("the quick brown fox\n" * 200)
        cluster.start("redis")
        cluster.start("control-plane", f"--lease-seconds={lengths.lease:g}")
        for name in WORKERS:
            cluster.start(name, f"--lease-renewal-seconds={lengths.renewal:g}")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def engine(services: ProxiedCluster) -> Iterator[TrainingEngine]:
    with services.engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def job(services: ProxiedCluster, engine: TrainingEngine) -> Job:
    return engine.jobs.start(config=CONFIG, dataset_path=str(services.folder / "text.txt"))


def frozen(services: ProxiedCluster, worker: str, lengths: Lengths) -> None:
    services.signal(worker, signal.SIGSTOP)
    time.sleep(lengths.frozen)
    services.signal(worker, signal.SIGCONT)


def cut_off(services: ProxiedCluster, worker: str, lengths: Lengths) -> None:
    """Connections are dropped; new ones are taken, and nothing comes through them for a while."""
    services.links[worker].cut()
    services.links[worker].hold()
    time.sleep(lengths.cut_off)
    services.links[worker].cut()
    services.links[worker].release()


def dropped(services: ProxiedCluster, worker: str, lengths: Lengths) -> None:
    """Connections are dropped again and again, and may come back at once."""
    for _ in range(10):
        services.links[worker].cut()
        time.sleep(lengths.cut_off / 10)


def slow(services: ProxiedCluster, worker: str, lengths: Lengths) -> None:
    services.links[worker].delay_seconds = lengths.one_way
    time.sleep(lengths.slow)
    services.links[worker].delay_seconds = 0.0


def away(services: ProxiedCluster, worker: str, lengths: Lengths) -> None:
    services.kill("redis")
    time.sleep(lengths.away)
    services.start("redis")


@pytest.mark.parametrize("trouble", [frozen, cut_off, dropped, slow, away])
def test_what_looks_like_a_death_ends_no_attempt(
    services: ProxiedCluster,
    job: Job,
    lengths: Lengths,
    trouble: Callable[[ProxiedCluster, str, Lengths], None],
) -> None:
    worker = services.worker_of(job)
    trouble(services, worker, lengths)
    step = job.refresh().current_step
    wait_until(lambda: job.refresh().current_step > step + 20, "training to go on", 60)
    assert job.refresh().attempt == 1


def test_a_death_does_not_wait_for_the_lease(
    services: ProxiedCluster, engine: TrainingEngine, job: Job
) -> None:
    services.kill(services.worker_of(job))
    wait_until(lambda: job.refresh().attempt == 2 and services.trainers(), "a successor", 60)
    said = services.log("control-plane")
    assert "was killed or crashed" in said
    assert "renewed no lease" not in said
    services.trainers()[0].kill()
    wait_until(lambda: job.refresh().attempt == 3 and services.trainers(), "another one", 60)
    step = job.refresh().current_step
    wait_until(lambda: job.refresh().current_step > step + 20, "training to go on", 60)
    job.stop()
    done = job.wait(timeout=60)
    steps = [point.step for point in engine.metrics.history(job.job_id)]
    assert steps == list(range(1, done.current_step + 1))
