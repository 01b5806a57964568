"""Redis is lost with all that it held, while an old trainer lives: `recover` brings all back."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster
from running_stack import clean_environment, wait_until
from undisturbed import (
    CONFIG,
    PACE_SECONDS,
    Result,
    assert_same,
    history_of,
    result_of,
    wait_for_step,
    write_text,
)

from training_engine import Job, TrainingEngine

SHORT = CONFIG | {"max_steps": 10}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without jobs of other tests: all that it knows is lost and comes back."""
    write_text(tmp_path)
    with cluster(tmp_path) as running:
        running.pace.set(PACE_SECONDS)
        yield running


def recover(services: Cluster) -> subprocess.CompletedProcess[str]:
    own = {
        "TRAINING_ENGINE_REDIS_URL": services.redis.url(),
        "TRAINING_ENGINE_ARTIFACT_ROOT": str(services.artifact_root),
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "control_plane", "--recover", "--recovery-json"],
        env=clean_environment() | own,
        capture_output=True,
        text=True,
        timeout=60,
    )


def jobs_in_every_state(engine: TrainingEngine, folder: Path) -> tuple[Job, list[Job], list[Job]]:
    """Twelve jobs: one that runs, ten that rest or wait, and one that was deleted."""
    text = str(folder / "text.txt")
    gone = folder / "gone.txt"
    shutil.copy(text, gone)

    def start(name: str, config: dict[str, Any] = SHORT, data: str = text) -> Job:
        return engine.jobs.start(config=config, dataset_path=data, name=name)

    done, failing = start("done"), start("failed", data=str(gone))
    gone.unlink()  # the one worker has not taken this job yet
    done.wait(timeout=120)
    wait_until(lambda: failing.refresh().status == "failed", "the failure", 60)
    runs = start("runs", CONFIG)
    waiting = [start(f"waits-{n}") for n in range(7)]
    stopped, deleted = start("stopped"), start("deleted")
    stopped.stop()
    deleted.stop()
    deleted.delete()
    return runs, [done, failing, *waiting, stopped], [deleted]


def shown(job: Job) -> tuple[Any, ...]:
    now = job.refresh()
    return now.name, now.status, now.attempt, now.current_step, now.error, now.created_at


@pytest.mark.slow
def test_every_acknowledged_job_comes_back_and_ends_like_an_undisturbed_one(
    services: Cluster, expected: Result, tmp_path: Path
) -> None:
    with services.engine() as engine:
        runs, others, deleted = jobs_in_every_state(engine, tmp_path)
        before = [shown(job) for job in others]
        history = history_of(engine, others[0])
        wait_for_step(runs, 90)
        # The worker of the old time freezes, as a machine does that is cut off.
        trainer = services.trainer()
        assert trainer is not None
        for process in (services.processes["worker"], trainer):
            process.send_signal(signal.SIGSTOP)
        for name in ("control-plane", "gateway", "redis"):
            services.kill(name)
        shutil.rmtree(services.redis.folder / "appendonlydir")
        services.start("redis")

        recovered = recover(services)

        assert recovered.returncode == 0, recovered.stderr
        states = {row["id"]: row["state"] for row in json.loads(recovered.stdout)["findings"]}
        rest = {job.job_id: row[1] for job, row in zip(others, before, strict=True)}
        assert states == rest | {runs.job_id: "queued"}
        assert json.loads(recover(services).stdout)["already"]
        for name in ("control-plane", "gateway"):
            services.start(name)
        assert [shown(job) for job in others] == before
        assert history_of(engine, others[0]) == history
        for job in others[3:-1]:
            job.stop()
        services.start("worker-2")
        wait_for_step(runs, 100)
        for process in (trainer, services.processes["worker"]):
            process.send_signal(signal.SIGCONT)
        assert_same(result_of(engine, runs, tmp_path), expected)
        assert runs.refresh().attempt == 2
        assert others[2].wait(timeout=120).status == "succeeded"
        assert {job.job_id for job in engine.jobs.list()} == states.keys()
        assert deleted[0].job_id not in states
