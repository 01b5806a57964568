"""Any process is killed at any moment; the run ends as if nothing had happened."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from cluster import LEASE_SECONDS, Cluster
from running_stack import wait_until
from undisturbed import (
    CONFIG,
    NEVER_GIVE_UP,
    PACE_SECONDS,
    Result,
    assert_same,
    history_of,
    result_of,
    wait_for_step,
)

from training_engine import Job, TrainingEngine

pytestmark = pytest.mark.slow
_MANIFEST = re.compile(r"checkpoint_step_(\d+)\.json$")


def start(services: Cluster, engine: TrainingEngine, config: dict[str, Any] = CONFIG) -> Job:
    """Starts the job that a test disturbs."""
    return engine.jobs.start(
        config=config, dataset_path=str(services.folder / "text.txt"), execution=NEVER_GIVE_UP
    )


def kill(services: Cluster, victim: str) -> None:
    """SIGKILL to a process, which is then started again."""
    if victim == "trainer":
        trainer = wait_until(services.trainer, "a trainer to kill")
        trainer.kill()
    else:
        services.kill(victim)
        services.start(victim)


@pytest.mark.parametrize("victim", ["worker", "trainer", "control-plane", "gateway", "redis"])
def test_one_kill(services: Cluster, expected: Result, tmp_path: Path, victim: str) -> None:
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 110)
        kill(services, victim)
        assert_same(result_of(engine, job, tmp_path), expected)
        attempts = engine.jobs.get(job.job_id).attempt
        assert attempts == (2 if victim in ("worker", "trainer") else 1)


def test_a_worker_killed_between_a_save_and_its_registration_and_a_person_resumes(
    services: Cluster, expected: Result, tmp_path: Path
) -> None:
    """The service's own next attempt is in `test_worker_unregistered.py`."""
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 50)
        trainer = wait_until(services.trainer, "a trainer to kill")
        services.redis.pause()
        # From here on nothing is delivered: a checkpoint becomes complete on disk, unregistered,
        # and the points before it stand in the spool alone.
        before = saved_steps(services, job)
        newer = wait_until(lambda: saved_steps(services, job) - before, "a save in the silence")
        trainer.suspend()
        saved = max(saved_steps(services, job))
        services.kill("worker")
        wait_until(lambda: not alive(trainer), "the trainer's end")
        services.redis.resume()
        wait_until(lambda: job.refresh().attempt == 2, "the loss of the worker")
        stopped = job.stop()  # no worker has claimed the second attempt
        assert stopped.status == "stopped"
        services.start("worker")
        assert saved >= max(newer) > max(one.step for one in stopped.checkpoints())
        wait_until(lambda: is_swept(services, job), "the sweep of its files")
        assert saved in saved_steps(services, job)
        assert_same(result_of(engine, stopped.resume(), tmp_path), expected)
        done = engine.jobs.get(job.job_id)
        assert (done.attempt, done.resumed_from_step) == (3, saved)  # what was saved was not lost
        assert any(line.text.endswith(f"at step {saved}") for line in done.logs())


def is_swept(services: Cluster, job: Job) -> bool:
    """Whether the sweep after the job's end is over."""
    with redis.Redis.from_url(services.redis.url()) as client:
        waits = client.zscore("te:jobs:sweep", job.job_id)
        return waits is None and not client.sismember("te:jobs:sweeping", job.job_id)


def saved_steps(services: Cluster, job: Job) -> set[int]:
    """Steps of a job whose checkpoints are complete in the store."""
    found = (_MANIFEST.search(key) for key in services.store.keys(f"jobs/{job.job_id}"))
    return {int(match[1]) for match in found if match}


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody has waited for does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_frozen_worker_changes_nothing_when_it_wakes(
    services: Cluster, expected: Result, tmp_path: Path
) -> None:
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 90)
        trainer = wait_until(services.trainer, "the trainer")
        services.signal("worker", signal.SIGSTOP)
        trainer.suspend()
        services.start("worker-2")
        wait_until(lambda: job.refresh().attempt == 2, "the second attempt", timeout=60)
        wait_for_step(job, 150)
        before = history_of(engine, job)
        trainer.resume()
        services.signal("worker", signal.SIGCONT)
        wait_until(lambda: not trainer.is_running(), "the old trainer to leave", timeout=60)
        assert history_of(engine, job)[: len(before)] == before
        assert_same(result_of(engine, job, tmp_path), expected)
        done = engine.jobs.get(job.job_id)
        assert done.attempt == 2
        assert done.resumed_from_step is not None
        assert all(
            checkpoint.attempt == 2 or checkpoint.step <= done.resumed_from_step
            for checkpoint in done.checkpoints()
        )


@pytest.fixture
def absence_seconds(request: pytest.FixtureRequest) -> float:
    """Some leases, which are of 2 s here; a minute for `make check-deaths`."""
    return 60 if request.config.getoption("as_in_life", False) else 3.5 * LEASE_SECONDS


@pytest.mark.timeout(400)
def test_redis_away(
    services: Cluster, expected: Result, tmp_path: Path, absence_seconds: float
) -> None:
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 50)
        services.redis.kill()
        trainer = wait_until(services.trainer, "the trainer")
        # The outage is the test's subject; training goes on meanwhile, and nobody is killed.
        signal.sigtimedwait([], absence_seconds)
        assert services.processes["worker"].poll() is None
        services.redis.start()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 1
        assert trainer.pid


def test_two_control_planes_have_one_leader(
    services: Cluster, expected: Result, tmp_path: Path
) -> None:
    services.start("control-plane-2")
    with services.engine() as engine, services.engine("control-plane-2") as other:
        job = start(services, engine)
        wait_for_step(job, 50)
        kill(services, "worker")
        wait_for_step(job, 120)
        services.kill("control-plane")
        kill(services, "worker")
        again = other.jobs.get(job.job_id)
        assert_same(result_of(other, again, tmp_path), expected)
        assert other.jobs.get(job.job_id).attempt == 3


def test_sigterm_hands_the_job_back(services: Cluster, expected: Result, tmp_path: Path) -> None:
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 90)
        services.signal("worker", signal.SIGTERM)
        services.processes["worker"].wait(timeout=60)
        handed_back = job.refresh()
        assert handed_back.status == "queued"
        assert handed_back.attempt == 2
        services.start("worker")
        assert_same(result_of(engine, job, tmp_path), expected)
        resumed = engine.jobs.get(job.job_id).resumed_from_step
        assert resumed == handed_back.current_step


@pytest.mark.long
def test_resume_from_earlier_checkpoint_killed_before_its_first_save(
    services: Cluster, expected: Result, tmp_path: Path
) -> None:
    with services.engine() as engine:
        job = start(services, engine)
        wait_for_step(job, 130)
        services.pace.set(0.5)  # else a slow machine hears of the stop after the last step
        job.stop()
        stopped = job.wait(timeout=60)
        services.pace.set(PACE_SECONDS)
        assert stopped.status == "stopped"
        earliest = min(stopped.checkpoints(), key=lambda checkpoint: checkpoint.step)
        resumed = stopped.resume(earliest.checkpoint_id)
        wait_for_step(resumed, earliest.step + 3)
        kill(services, "trainer")
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 3
