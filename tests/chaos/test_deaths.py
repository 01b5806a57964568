"""Deaths are seen at once, and only deaths: what looks like one ends no attempt."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from proxied import WORKERS, ProxiedCluster
from running_stack import wait_until

from training_engine import Job, TrainingEngine

LEASE_SECONDS = 6.0
ROUND_TRIP_SECONDS = 2.0
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
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedCluster]:
    folder = tmp_path_factory.mktemp("recovery")
    cluster = ProxiedCluster(folder)
    try:
        (folder / "artifacts").mkdir(exist_ok=True)
        (folder / "text.txt").write_text("the quick brown fox\n" * 200)
        cluster.start("redis")
        cluster.start("control-plane", f"--lease-seconds={LEASE_SECONDS:g}")
        cluster.heal()
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


def worker_of(services: ProxiedCluster, job: Job) -> str:
    """The name of the process that has the job."""
    wait_until(lambda: job.refresh().status == "running", "the job to run", 300)
    worker_id = job.refresh().worker_id
    assert worker_id is not None
    pid = int(worker_id.split("-")[-2])
    (name,) = [name for name in WORKERS if services.processes[name].pid == pid]
    return name


def frozen(services: ProxiedCluster, worker: str) -> None:
    services.signal(worker, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS / 3)
    services.signal(worker, signal.SIGCONT)


def cut_off(services: ProxiedCluster, worker: str) -> None:
    services.links[worker].cut()
    services.links[worker].hold()
    time.sleep(LEASE_SECONDS / 6)
    services.links[worker].cut()
    services.links[worker].release()


def slow(services: ProxiedCluster, worker: str) -> None:
    services.links[worker].delay_seconds = ROUND_TRIP_SECONDS / 2
    time.sleep(LEASE_SECONDS + ROUND_TRIP_SECONDS)
    services.links[worker].delay_seconds = 0.0


def restarted(services: ProxiedCluster, worker: str) -> None:
    services.kill("redis")
    services.start("redis")


@pytest.mark.parametrize("trouble", [frozen, cut_off, slow, restarted])
def test_what_looks_like_a_death_ends_no_attempt(
    services: ProxiedCluster, job: Job, trouble: Callable[[ProxiedCluster, str], None]
) -> None:
    worker = worker_of(services, job)
    trouble(services, worker)
    step = job.refresh().current_step
    wait_until(lambda: job.refresh().current_step > step + 20, "training to go on", 60)
    assert job.refresh().attempt == 1


def test_a_death_does_not_wait_for_the_lease(
    services: ProxiedCluster, engine: TrainingEngine, job: Job
) -> None:
    services.kill(worker_of(services, job))
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
