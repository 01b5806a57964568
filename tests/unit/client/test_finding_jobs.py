"""Jobs by id, by name and by the beginning of an id, over both transports and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scripted_gateway import Exchange, ScriptedGateway
from scripted_service import (
    ScriptedService,
    checkpoint_pb2,
    generation_pb2,
    job,
    job_pb2,
)
from typer.testing import CliRunner

from training_engine import AsyncTrainingEngine, InvalidArgumentError, NotFoundError, TrainingEngine
from training_engine.cli.app import app

IDS = [f"job_{number:026d}" for number in (30, 20, 10)]
NAMES = ["night", "day", "night"]


@pytest.fixture(autouse=True)
def _jobs(service: ScriptedService) -> None:
    """Three jobs, newest first, in a service that filters as the real one does."""
    known = dict(zip(IDS, NAMES, strict=True))

    def listed(request: Any, context: Any) -> Any:
        rows = [
            job_pb2.Job(job_id=i, name=n, status="JOB_STATUS_RUNNING", created_at={"seconds": 60})
            for i, n in known.items()
            if (not request.name or n == request.name) and i.startswith(request.job_id_prefix)
        ]
        return job_pb2.ListJobsResponse(jobs=rows)

    service.on["ListJobs"] = listed
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job(request.job_id))
    service.on["StopJob"] = lambda request, context: job_pb2.StopJobResponse(
        job=job(request.job_id, "STOPPING")
    )


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    yield scripted
    scripted.stop()


def test_a_name_or_the_beginning_of_an_id_means_its_job(engine: TrainingEngine) -> None:
    assert engine.jobs.find("day").job_id == IDS[1]
    assert engine.jobs.find(IDS[0]).job_id == IDS[0]
    assert engine.jobs.find(IDS[2][:-1]).job_id == IDS[2]
    assert engine.jobs.find(IDS[2][4:-1]).job_id == IDS[2]
    assert [found.job_id for found in engine.jobs.list(name="night")] == [IDS[0], IDS[2]]
    assert [found.job_id for found in engine.jobs.page(name="day")] == [IDS[1]]


def test_a_name_of_several_means_the_newest(engine: TrainingEngine) -> None:
    assert engine.jobs.find("night").job_id == IDS[0]


def test_the_beginning_of_several_ids_lists_them(engine: TrainingEngine) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        engine.jobs.find("job_0")
    assert caught.value.code == "ambiguous_job"
    assert str(caught.value) == (
        "'job_0' means more than one job; give the id of one:\n"
        f"  {IDS[0]}  night  running, created 1970-01-01 00:01:00 UTC\n"
        f"  {IDS[1]}  day  running, created 1970-01-01 00:01:00 UTC\n"
        f"  {IDS[2]}  night  running, created 1970-01-01 00:01:00 UTC"
    )


@pytest.mark.parametrize("reference", ["dusk", "job_1", "Not an id!"])
def test_what_means_nothing_is_not_found(engine: TrainingEngine, reference: str) -> None:
    with pytest.raises(NotFoundError, match=f"no job with the id or the name '{reference}'; see:"):
        engine.jobs.find(reference)


def test_an_empty_reference_never_means_every_job(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    for empty in ("", "  "):
        with pytest.raises(InvalidArgumentError, match="give its id or its name"):
            engine.jobs.find(empty)
    assert service.requests == []


def test_a_service_that_ignores_the_filters_is_not_believed(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(jobs=[job("j9")])
    with pytest.raises(NotFoundError):
        engine.jobs.find("day")


async def test_asyncio_finds_the_same(service: ScriptedService) -> None:
    async with AsyncTrainingEngine(service.address) as engine:
        assert (await engine.jobs.find("day")).job_id == IDS[1]
        assert [found.job_id async for found in engine.jobs.list(name="day")] == [IDS[1]]
        assert [found.job_id for found in await engine.jobs.page(name="day")] == [IDS[1]]
        with pytest.raises(NotFoundError, match="'dusk'"):
            await engine.jobs.find("dusk")


def test_rest_asks_with_the_same_filters(gateway: ScriptedGateway) -> None:
    row = {"job_id": IDS[1], "name": "day", "status": "running"}

    def listed(exchange: Exchange) -> None:
        exchange.json(200, {"jobs": [row] if "name=day" in exchange.query else []})

    gateway.on["GET /api/training/jobs"] = listed
    gateway.on[f"GET /api/training/jobs/{IDS[1]}"] = lambda exchange: exchange.json(200, row)
    with TrainingEngine.over_rest(gateway.url) as engine:
        assert engine.jobs.find("day").job_id == IDS[1]
        with pytest.raises(NotFoundError):
            engine.jobs.find("dusk")
    queries = [asked.query for asked in gateway.asked("GET /api/training/jobs")]
    assert queries == [
        "page_size=6&name=day",
        "page_size=6&name=dusk",
        "page_size=6&job_id_prefix=job_dusk",
    ]


def test_the_command_line_takes_names(service: ScriptedService) -> None:
    def cli(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--address", service.address, *arguments])

    stopped = cli("stop", "day", "night", IDS[0], "job_0", "dusk")
    assert stopped.stdout == f"{IDS[1]} asked to stop\n{IDS[0]} asked to stop\n"
    said = stopped.stderr.splitlines()
    assert said[0] == "error: 'job_0' means more than one job; give the id of one:"
    assert said[1].split()[0] == IDS[0]
    assert said[4].startswith("error: there is no job with the id or the name 'dusk'")
    assert stopped.exit_code == 2
    assert cli("status", "dusk").exit_code == 3
    listed = cli("list", "--name", "night").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["JOB", IDS[0], IDS[2]]
    assert "--name is empty" in cli("list", "--name", " ").stderr


CHECKPOINTS = [f"ckpt_{number:026d}" for number in (1, 2, 3)]


@pytest.fixture
def checkpoints(service: ScriptedService) -> list[Any]:
    """What the jobs have saved; the second is the best."""
    saved = [
        checkpoint_pb2.Checkpoint(checkpoint_id=id, step=step, is_best=step == 20)
        for id, step in zip(CHECKPOINTS, (10, 20, 30), strict=True)
    ]
    service.on["ListCheckpoints"] = lambda request, context: checkpoint_pb2.ListCheckpointsResponse(
        checkpoints=saved
    )
    service.on["GetCheckpoint"] = lambda request, context: checkpoint_pb2.GetCheckpointResponse(
        checkpoint={"checkpoint_id": request.checkpoint_id}
    )
    return saved


def test_a_job_means_its_best_checkpoint(engine: TrainingEngine, checkpoints: list[Any]) -> None:
    assert engine.checkpoints.find("day").checkpoint_id == CHECKPOINTS[1]
    assert engine.checkpoints.find(IDS[0]).checkpoint_id == CHECKPOINTS[1]
    assert engine.checkpoints.find(CHECKPOINTS[0]).checkpoint_id == CHECKPOINTS[0]
    checkpoints[1].is_best = False
    assert engine.checkpoints.find("day").checkpoint_id == CHECKPOINTS[2]
    checkpoints.clear()
    with pytest.raises(NotFoundError, match="job 'day' has no checkpoints yet; it saves one each"):
        engine.checkpoints.find("day")
    with pytest.raises(NotFoundError, match="no job with the id or the name 'dusk'"):
        engine.checkpoints.find("dusk")


async def test_asyncio_finds_the_same_checkpoint(
    service: ScriptedService, checkpoints: list[Any]
) -> None:
    async with AsyncTrainingEngine(service.address) as engine:
        assert (await engine.checkpoints.find("day")).checkpoint_id == CHECKPOINTS[1]
        assert (await engine.checkpoints.find(CHECKPOINTS[2])).checkpoint_id == CHECKPOINTS[2]


def test_generate_takes_a_job(service: ScriptedService, checkpoints: list[Any]) -> None:
    service.on["Generate"] = lambda request, context: iter(
        [generation_pb2.GenerateResponse(text=request.checkpoint_id)]
    )
    said = CliRunner().invoke(app, ["--address", service.address, "generate", "day"])
    assert said.stdout.strip() == CHECKPOINTS[1]
