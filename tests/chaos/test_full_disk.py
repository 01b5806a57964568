"""The disk of the checkpoints fills up while a job trains: nothing that was saved is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, cluster
from running_stack import wait_until
from small_disk import fill, fill_up, mounted
from undisturbed import (
    CONFIG,
    PACE_SECONDS,
    Result,
    assert_same,
    result_of,
    wait_for_step,
    write_text,
)

from training_engine import Job

pytestmark = pytest.mark.slow

_KEEPS_ALL = CONFIG | {"max_checkpoints_to_keep": 100}
"""No old checkpoint makes room for a new one."""

_DISK_BYTES = 96 << 20
"""Room for all the checkpoints that three jobs make."""
_FOR_THE_JOB = 4 << 20
"""What it may take while the ballast is laid."""
_LESS_THAN_A_CHECKPOINT = 512 << 10


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own where the trainers write."""
    name = "scratch" if Cluster.bucket else "artifacts"
    with mounted(tmp_path_factory.mktemp("small") / name, _DISK_BYTES) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster_on_small_disk(small_disk: Path) -> Iterator[Cluster]:
    """A cluster that ends before its disk is taken away."""
    write_text(small_disk.parent)
    with cluster(small_disk.parent) as running:
        running.pace.set(PACE_SECONDS)
        yield running


@pytest.fixture
def services_on_small_disk(cluster_on_small_disk: Cluster, small_disk: Path) -> Iterator[Cluster]:
    """The cluster, with room on its disk and without jobs of the test before."""
    yield cluster_on_small_disk
    (small_disk / "ballast").unlink(missing_ok=True)
    cluster_on_small_disk.restore()


def wait_for_a_save(job: Job) -> None:
    """Returns right after a checkpoint, so that no other is half written."""
    last = max((checkpoint.step for checkpoint in job.checkpoints()), default=0)
    wait_until(lambda: any(c.step > last for c in job.checkpoints()), f"a save after step {last}")


def test_a_full_disk_leaves_saves_out_and_training_goes_on(
    services_on_small_disk: Cluster, small_disk: Path, expected: Result, tmp_path: Path
) -> None:
    services = services_on_small_disk
    with services.engine() as engine:
        text = str(services.folder / "text.txt")
        job = engine.jobs.start(config=_KEEPS_ALL, dataset_path=text, execution={"max_retries": 0})
        wait_for_a_save(job)
        ballast = fill(small_disk, _LESS_THAN_A_CHECKPOINT, _FOR_THE_JOB)
        told = wait_until(lambda: _message(job.refresh(), "is full"), "the status to tell")
        assert "nothing could be saved since step" in told
        assert "training goes on and saves once there is room; free some space" in told
        unsaved = max(checkpoint.step for checkpoint in job.checkpoints())
        wait_for_step(job, unsaved + 45)  # past two more saves
        assert job.refresh().status == "running"
        assert max(checkpoint.step for checkpoint in job.checkpoints()) == unsaved
        ballast.unlink()
        wait_until(lambda: not job.refresh().message, "the status to be clear again")
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 1
        lines = [line.text for line in job.logs()]
        assert any("training goes on, and the next save is the next try" in line for line in lines)


@pytest.mark.long
def test_the_last_save_waits_until_there_is_room(
    services_on_small_disk: Cluster, small_disk: Path, expected: Result, tmp_path: Path
) -> None:
    services = services_on_small_disk
    with services.engine() as engine:
        text = str(services.folder / "text.txt")
        execution = {"max_retries": 0, "stall_timeout_seconds": 4}
        job = engine.jobs.start(config=_KEEPS_ALL, dataset_path=text, execution=execution)
        wait_for_a_save(job)
        ballast = fill(small_disk, _LESS_THAN_A_CHECKPOINT, _FOR_THE_JOB)
        wait_for_step(job, CONFIG["max_steps"], timeout=120)
        wait_until(lambda: _waits_with_its_last_save(job), "the last save to wait")
        signal.sigtimedwait([], 6)  # longer than the stall timeout
        waiting = job.refresh()
        assert (waiting.status, waiting.attempt) == ("running", 1)
        assert waiting.message is not None
        assert "is full" in waiting.message
        ballast.unlink()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 1


def test_retries_on_a_disk_without_any_room_pause_and_end_the_job(
    services_on_small_disk: Cluster, small_disk: Path, expected: Result, tmp_path: Path
) -> None:
    services = services_on_small_disk
    with services.engine() as engine:
        text = str(services.folder / "text.txt")
        job = engine.jobs.start(config=_KEEPS_ALL, dataset_path=text, execution={"max_retries": 2})
        wait_for_a_save(job)
        ballast = fill(small_disk, 0, _FOR_THE_JOB)

        def pause() -> str:
            fill_up(ballast)  # where checkpoints are sent to a bucket, their copies make room
            return _message(job.refresh(), "after a pause")

        pausing = wait_until(pause, "a pause")
        assert "No space left on device" in pausing
        failed = job.wait(timeout=90)
        assert failed.status == "failed"
        assert failed.error_reason == "disk_full"
        assert failed.error is not None
        assert str(small_disk) in failed.error
        assert "No space left on device" in failed.error
        assert "free some space" in failed.error
        last = max(checkpoint.step for checkpoint in failed.checkpoints())
        assert 20 <= last < CONFIG["max_steps"]
        assert not list(small_disk.glob("**/*.tmp"))
        ballast.unlink()
        assert_same(result_of(engine, failed.resume(), tmp_path), expected)
        assert engine.jobs.get(job.job_id).resumed_from_step == last


def _message(job: Job, part: str) -> str:
    """The job's message, if it holds `part`."""
    return job.message if job.message and part in job.message else ""


def _waits_with_its_last_save(job: Job) -> bool:
    now = job.refresh()
    assert now.status == "running", (now.status, now.message, now.error)
    return any("the last save is tried for" in line.text for line in job.logs())
