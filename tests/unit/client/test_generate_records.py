"""The records of the SDK are what the protos say, and every message that has one agrees with it."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training_engine import EventKind, Execution, JobRecord, JobStatus, Worker, records
from training_engine.v1 import job_pb2

ROOT = Path(__file__).parents[3]


def _check(root: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, root / "client" / "generate_records.py", "--check"]
    return subprocess.run(script, capture_output=True, text=True, timeout=60)


def test_the_committed_records_are_current_and_an_edited_one_is_refused(tmp_path: Path) -> None:
    done = _check(ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copytree(ROOT / "client", tmp_path / "client")
    written = tmp_path / "client" / "training_engine" / "records.py"
    written.write_text(written.read_text().replace("max_steps: int = 0", "max_steps: int = 1"))
    done = _check(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "records.py: not what the protos give; run: make protos\n"


def test_a_record_has_the_fields_of_its_message_in_their_order() -> None:
    fields = [field.name for field in dataclasses.fields(JobRecord)]
    assert fields == [field.name for field in job_pb2.Job.DESCRIPTOR.fields]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (JobStatus, "QUEUED: Waits for a worker."),
        (JobRecord, "worker_id: The worker that holds it, or held it last; None before the first"),
        (JobRecord, "error_reason: Stable code of the error, e.g. `DATASET_NOT_FOUND`"),
        (Worker, "state: What it does. One of `idle`, `busy`, `draining`."),
        (EventKind, "REWOUND: History was cut."),
    ],
)
def test_a_docstring_says_what_the_proto_says(kind: type, line: str) -> None:
    assert line in (inspect.getdoc(kind) or "")


def test_what_was_not_set_has_the_value_of_its_kind() -> None:
    job = records.read(JobRecord, {"job_id": "job_1"})
    assert (job.status, job.attempt, job.worker_id) == (JobStatus.QUEUED, 1, None)
    assert (job.warnings, job.execution, job.max_steps) == ((), Execution(), 0)
    with pytest.raises(TypeError, match="job_id"):
        records.read(JobRecord, {})
