"""A job's trackers go on where the attempt before was killed; a job without its tracker fails."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from pathlib import Path

import pytest
from training_site import Site

from job_store.records import Execution, JobStatus


@pytest.fixture(scope="module")
def worker(site: Site) -> subprocess.Popen[bytes]:
    return site.start_worker()


def test_a_killed_trainer_leaves_each_step_once_in_the_trackers_files(
    site: Site, worker: subprocess.Popen[bytes]
) -> None:
    site.pace.set(0.1)
    job_id = site.submit(trackers=["csv", "tensorboard"])
    site.wait_for(lambda: site.job(job_id).current_step > 6)  # a checkpoint is of step 5
    os.kill(site.horse(worker), signal.SIGKILL)
    site.pace.set(0)
    site.wait_for(lambda: site.job(job_id).attempt == 2)
    site.send(job_id)
    assert site.wait(job_id, JobStatus.SUCCEEDED, JobStatus.FAILED).error is None, site.logs()
    folder = site.artifacts / "jobs" / job_id / "trackers"
    assert rows(folder / "metrics.csv") == [
        (step, values["loss"], values.get("val_loss")) for step, values in site.history(job_id)
    ]
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) == 2


def test_a_tracker_without_its_settings_fails_the_job_before_its_first_step(
    site: Site, worker: subprocess.Popen[bytes]
) -> None:
    job_id = site.submit(Execution(max_retries=3), trackers=["mlflow"])
    record = site.wait(job_id, JobStatus.FAILED, JobStatus.SUCCEEDED)
    assert record.error is not None
    assert (record.error.reason, record.attempt, record.current_step) == ("INVALID_CONFIG", 1, 0)
    assert "MLFLOW_TRACKING_URI is not set" in record.error.message


def rows(file: Path) -> list[tuple[int, float, float | None]]:
    with file.open(newline="") as lines:
        return [
            (
                int(row["step"]),
                float(row["loss"]),
                float(row["val_loss"]) if row["val_loss"] else None,
            )
            for row in csv.DictReader(lines)
        ]
