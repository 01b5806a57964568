"""A scripted service and the engines that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Cli
from scripted_service import ScriptedService, job, job_pb2

from training_engine import TrainingEngine
from training_engine.cli import session


@pytest.fixture(autouse=True)
def _no_ambient_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep whatever the machine's environment names out of the tests."""
    for name in ("ADDRESS", "URL", "TOKEN"):
        monkeypatch.delenv(f"TRAINING_ENGINE_{name}", raising=False)


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    yield scripted
    scripted.stop()


@pytest.fixture
def engine(service: ScriptedService) -> Iterator[TrainingEngine]:
    with TrainingEngine(service.address, retry_for=5, reconnect_for=10) as made:
        yield made


@pytest.fixture
def cli(service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "RETRY_SECONDS", 0.1)
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(
        job=job(request.job_id, current_step=4, progress=0.4)
    )
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job(request.name)] if request.name else []
    )
    service.on["StartJob"] = lambda request, context: job_pb2.StartJobResponse(
        job=job(status="QUEUED", warnings=[{"field": "warmup_steps", "message": "is long"}])
    )
    return Cli(service)
