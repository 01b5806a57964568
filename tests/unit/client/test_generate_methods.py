"""The SDK's methods of unary calls are what the services say, and a new call becomes a method."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training_engine import AsyncTrainingEngine, TrainingEngine

ROOT = Path(__file__).parents[3]
CALL = """
  // Archives a job that has ended. It is left out of lists. STATE_FORBIDS for one that has not.
  rpc ArchiveJob(ArchiveJobRequest) returns (ArchiveJobResponse) {
    option (google.api.http) = {
      post: "/api/training/jobs/{job_id}/archive"
      body: "*"
      response_body: "job"
    };
  }
}
"""
MESSAGES = """
// Asks for a job's archival.
message ArchiveJobRequest {
  // The job.
  string job_id = 1;
  // Why, up to 200 characters.
  optional string note = 2;
  // Makes the call idempotent for 24 h.
  string request_id = 3;
}

// The job is archived.
message ArchiveJobResponse {
  // The job as it is now.
  Job job = 1;
}
"""
METHOD = '''
    def archive(self, job_id: str, *, note: str | None = None) -> Job:
        """Archive a job that has ended.

        It is left out of lists.

        Args:
            job_id: The job.
            note: Why, up to 200 characters.

        Raises:
            StateForbidsError: For one that has not.
        """
        return self._whole(self._link.unary(_calls.archive_job(job_id, note=note)))
'''
LIST_UNARY = """
import generate_methods, generate_records
for each in generate_records.methods().values():
    if not (each.client_streaming or each.server_streaming):
        print(each.containing_service.name, generate_methods.method_name(each))
"""


@pytest.fixture
async def engines() -> list[Any]:
    """One engine of each kind; nothing is sent."""
    with TrainingEngine("localhost:1") as blocking:
        async with AsyncTrainingEngine("localhost:1") as asyncio:
            return [blocking, asyncio]


async def test_each_unary_call_is_a_method_of_its_resource(engines: list[Any]) -> None:
    script = [sys.executable, "-c", LIST_UNARY]
    done = subprocess.run(script, cwd=ROOT / "client", capture_output=True, text=True, check=True)
    calls = dict.fromkeys(tuple(line.split()) for line in done.stdout.splitlines())
    assert len(calls) == len(done.stdout.splitlines()) > 20
    assert {("JobService", "stop"), ("MetricsService", "history")} < calls.keys()
    for engine in engines:
        for service, name in calls:
            resource = service.removesuffix("Service").lower().removesuffix("s") + "s"
            assert callable(getattr(getattr(engine, resource), name)), f"{resource}.{name}"


async def test_a_docstring_names_the_errors_whose_reasons_the_proto_names(
    engines: list[Any],
) -> None:
    for engine in engines:
        assert inspect.getdoc(engine.checkpoints.delete) == (
            "Delete a checkpoint.\n\nRaises:\n"
            "    ConflictError: For the one that an active job would resume from."
        )


def test_a_new_unary_call_is_in_the_sdk_after_make_protos(tmp_path: Path) -> None:
    for name in ("client", "protos", "worker"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    proto = tmp_path / "protos/training_engine/v1/job.proto"
    service, _, rest = proto.read_text().partition("\n}\n")
    proto.write_text(service + CALL + rest + MESSAGES)
    tools = [f"BIN={Path(sys.executable).parent}", "STAMP=pyproject.toml"]
    command = ["make", "--silent", "--old-file=pyproject.toml", "protos", *tools]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package = tmp_path / "client/training_engine"
    assert METHOD in (package / "_methods.py").read_text()
    assert "async def archive(" in (package / "_aio_methods.py").read_text()
