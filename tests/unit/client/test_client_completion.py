"""What Tab offers, as a shell asks for it."""

from __future__ import annotations

import pytest
from scripted_service import ScriptedService, job_pb2
from typer.testing import CliRunner

from training_engine.cli.app import app

IDS = [f"job_{number:026d}" for number in (30, 20, 10)]


def offered(words: str, environment: dict[str, str] | None = None) -> list[str]:
    """The words that bash is offered for the last of `words`."""
    count = len(words.split()) - (not words.endswith(" "))
    asked = {"_TRAINING_ENGINE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    answer = CliRunner().invoke(
        app,
        prog_name="training-engine",
        env={**asked, "COMP_CWORD": str(count), **(environment or {})},
    )
    return answer.stdout.split()


@pytest.fixture
def jobs(service: ScriptedService) -> ScriptedService:
    rows = [
        job_pb2.Job(job_id=i, name=name, status="JOB_STATUS_RUNNING")
        for i, name in zip(IDS, ["night", "day", "night"], strict=True)
    ]
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(jobs=rows)
    return service


def test_commands_and_options() -> None:
    assert offered("training-engine st") == ["start", "status", "stop"]
    assert "--force" in offered("training-engine download c1 --f")
    assert offered("training-engine list --status s") == ["stopping", "stopped", "succeeded"]
    assert offered("training-engine start x --priority ") == ["high", "default", "low"]


@pytest.mark.parametrize("command", ["status", "watch", "stop", "resume", "logs", "checkpoints"])
def test_jobs_by_name_newest_first(jobs: ScriptedService, command: str) -> None:
    there = {"TRAINING_ENGINE_ADDRESS": jobs.address}
    assert offered(f"training-engine {command} ", there) == ["night", "day"]
    assert offered(f"training-engine {command} n", there) == ["night"]


def test_jobs_by_id_and_of_the_service_that_a_flag_names(jobs: ScriptedService) -> None:
    there = f"training-engine --address {jobs.address}"
    assert offered(f"{there} status job_") == IDS
    assert offered(f"training-engine stop --address {jobs.address} day d") == ["day"]


def test_where_no_service_answers_nothing_is_offered(service: ScriptedService) -> None:
    service.stop()
    there = {"TRAINING_ENGINE_ADDRESS": service.address}
    assert offered("training-engine status ", there) == []
