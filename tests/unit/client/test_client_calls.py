"""Calls: what is sent, what is tried again, what comes back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scripted_service import (
    ScriptedService,
    code_pb2,
    config_pb2,
    dataset_pb2,
    generation_pb2,
    job,
    job_pb2,
    metrics_pb2,
    point,
    refuse,
    worker_pb2,
)

from training_engine import (
    AsyncTrainingEngine,
    DeadlineExceededError,
    Execution,
    InvalidArgumentError,
    InvalidConfigError,
    JobStatus,
    StateForbidsError,
    TokenLogprob,
    TrainingEngine,
    UnavailableError,
)
from training_engine.records import JobRecord, read


def started(request: Any, context: Any) -> Any:
    return job_pb2.StartJobResponse(job=job(status="QUEUED"))


def test_starting_a_job_sends_the_whole_request(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["StartJob"] = started
    made = engine.jobs.start(
        {"max_steps": 5},
        dataset_path="/data/a",
        val_dataset_path="/data/b",
        name="mine",
        execution=Execution(priority="high", max_retries=2),
    )
    assert (made.job_id, made.status) == ("j1", JobStatus.QUEUED)
    assert made.created_at == datetime(2030, 1, 1, 12, tzinfo=UTC)
    (request,) = service.asked("StartJob")
    assert json.loads(request.config_document) == {"max_steps": 5}
    assert (request.dataset_path, request.val_dataset_path) == ("/data/a", "/data/b")
    assert request.name == "mine"
    assert request.execution.priority == job_pb2.JOB_PRIORITY_HIGH
    assert request.execution.max_retries == 2
    assert not request.execution.HasField("processes")
    assert len(request.request_id) == 32


class LikeTrainingConfig:
    """Stands for the library's configuration, which the SDK never imports."""

    def to_dict(self) -> dict[str, Any]:
        return {"max_steps": 7, "checkpoint_dir": Path("/tmp/x")}


def test_a_configuration_may_come_in_every_form(
    service: ScriptedService, engine: TrainingEngine, tmp_path: Path
) -> None:
    service.on["StartJob"] = started
    file = tmp_path / "config.yaml"
    file.write_text("# mine\nmax_steps: 5\n")
    forms: list[Any] = [str(file), file, "max_steps: 6", LikeTrainingConfig()]
    for form in forms:
        engine.jobs.start(form)
    engine.jobs.start(config_id="cfg_1")
    sent = [request.config_document for request in service.asked("StartJob")]
    assert sent[:3] == ["# mine\nmax_steps: 5\n", "# mine\nmax_steps: 5\n", "max_steps: 6"]
    assert json.loads(sent[3]) == {"max_steps": 7, "checkpoint_dir": "/tmp/x"}
    assert service.asked("StartJob")[4].config_id == "cfg_1"


def test_a_configuration_that_cannot_be_read_is_refused_here(engine: TrainingEngine) -> None:
    with pytest.raises(InvalidConfigError, match=r"nowhere\.yaml: No such file or directory"):
        engine.jobs.start("nowhere.yaml")
    with pytest.raises(InvalidConfigError, match="it is a int; give a dict, a TrainingConfig"):
        engine.jobs.start(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigError, match="cannot be written as JSON"):
        engine.jobs.start({"seed": object()})
    with pytest.raises(InvalidArgumentError, match="give either config or config_id"):
        engine.jobs.start()
    with pytest.raises(InvalidArgumentError, match="priority is 'urgent'; it must be one of high"):
        engine.jobs.start({}, execution={"priority": "urgent"})


def test_a_mutation_is_repeated_under_the_same_request_id(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    failures = iter([True, True, False])

    def start(request: Any, context: Any) -> Any:
        if next(failures):
            refuse(context, code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", "Redis is away")
        return started(request, context)

    service.on["StartJob"] = start
    engine.jobs.start({})
    ids = [request.request_id for request in service.asked("StartJob")]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_what_cannot_pass_is_not_repeated(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["StopJob"] = lambda request, context: refuse(
        context, code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", "job j1 has ended"
    )
    with pytest.raises(StateForbidsError, match="job j1 has ended"):
        engine.jobs.stop("j1")
    assert len(service.asked("StopJob")) == 1


def test_patience_ends(service: ScriptedService) -> None:
    service.on["GetJob"] = lambda request, context: refuse(
        context, code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", "Redis is away"
    )
    with (
        TrainingEngine(service.address, retry_for=0.5) as engine,
        pytest.raises(UnavailableError, match="Redis is away") as caught,
    ):
        engine.jobs.get("j1")
    assert caught.value.code == "store_unavailable"
    assert len(service.asked("GetJob")) > 2


def test_lists_go_through_every_page(service: ScriptedService, engine: TrainingEngine) -> None:
    pages = {"": (["j1", "j2"], "2"), "2": (["j3"], "")}

    def list_jobs(request: Any, context: Any) -> Any:
        ids, token = pages[request.page_token]
        return job_pb2.ListJobsResponse(jobs=[job(i) for i in ids], next_page_token=token)

    service.on["ListJobs"] = list_jobs
    assert [j.job_id for j in engine.jobs.list(status="running", page_size=2)] == ["j1", "j2", "j3"]
    first, second = service.asked("ListJobs")
    assert (first.page_size, first.status) == (2, job_pb2.JOB_STATUS_RUNNING)
    assert second.page_token == "2"
    page = engine.jobs.page(page_size=2)
    assert ([j.job_id for j in page], page.next_page_token, len(page)) == (["j1", "j2"], "2", 2)
    with pytest.raises(InvalidArgumentError, match="status is 'done'; it must be one of queued"):
        list(engine.jobs.list(status="done"))


def test_many_are_stopped_by_list_and_state(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job("j2"), job("j3")]
    )

    def stop(request: Any, context: Any) -> Any:
        if request.job_id == "j2":
            refuse(context, code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", "j2 has ended")
        return job_pb2.StopJobResponse(job=job(request.job_id, "STOPPING"))

    service.on["StopJob"] = stop
    results = engine.jobs.stop_many(["j1", "j2"], status="running")
    assert [(r.job_id, str(r.error) if r.error else None) for r in results] == [
        ("j1", None),
        ("j2", "j2 has ended"),
        ("j3", None),
    ]


def test_wait_returns_the_finished_job_across_a_restart(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    states = iter(["QUEUED", "RUNNING", "RUNNING", "FAILED"])

    def get(request: Any, context: Any) -> Any:
        return job_pb2.GetJobResponse(job=job(status=next(states), error="loss is nan"))

    service.on["GetJob"] = get
    waiting = engine.jobs.get("j1")
    service.stop()
    service.start()
    finished = waiting.wait(30)
    assert (finished.status, finished.error) == (JobStatus.FAILED, "loss is nan")
    assert waiting.status is JobStatus.QUEUED
    with pytest.raises(FrozenInstanceError):
        finished.status = JobStatus.QUEUED  # type: ignore[misc]


def test_wait_has_a_deadline(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    with pytest.raises(DeadlineExceededError, match=r"job j1 is still running after 0\.2 s"):
        engine.jobs.wait("j1", timeout=0.2)


def test_the_handle_does_what_the_resources_do(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    service.on["StopJob"] = lambda request, context: job_pb2.StopJobResponse(
        job=job(status="STOPPING")
    )
    service.on["ResumeJob"] = lambda request, context: job_pb2.ResumeJobResponse(
        job=job(status="QUEUED", resumed_from_step=4)
    )
    service.on["DeleteJob"] = lambda request, context: job_pb2.DeleteJobResponse()
    service.on["GetMetrics"] = lambda request, context: metrics_pb2.GetMetricsResponse(
        metrics=point(3, loss=2.5)
    )
    service.on["ListMetrics"] = lambda request, context: metrics_pb2.ListMetricsResponse(
        points=[point(1), point(2)]
    )
    service.on["GetThroughput"] = lambda request, context: metrics_pb2.GetThroughputResponse(
        steps_per_second=2.0, tokens_seen=9
    )
    service.on["ListLogs"] = lambda request, context: job_pb2.ListLogsResponse(
        lines=[{"text": "one"}, {"text": "two"}]
    )
    handle = engine.jobs.get("j1")
    assert handle.stop().status is JobStatus.STOPPING
    handle.resume(from_start=True)
    resumed = handle.resume("c1", max_steps=20)
    assert (resumed.status, resumed.resumed_from_step) == (JobStatus.QUEUED, 4)
    assert handle.metrics().loss == 2.5
    assert [p.step for p in handle.history(max_points=100)] == [1, 2]
    assert handle.throughput().tokens_seen == 9
    assert [line.text for line in handle.logs()] == ["one", "two"]
    handle.delete()
    afresh, resume = service.asked("ResumeJob")
    assert (resume.checkpoint_id, resume.max_steps, resume.from_start) == ("c1", 20, False)
    assert (afresh.checkpoint_id, afresh.from_start) == ("", True)
    assert service.asked("ListMetrics")[0].max_points == 100
    assert not service.asked("ListMetrics")[0].HasField("after_step")


def test_configurations(service: ScriptedService, engine: TrainingEngine) -> None:
    stored = config_pb2.Config(config_id="cfg_1", name="tiny")
    stored.config.model_config.num_layers = 2
    service.on["CreateConfig"] = lambda request, context: config_pb2.CreateConfigResponse(
        config=stored, warnings=[{"field": "warmup_steps", "message": "long"}]
    )
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=False, errors=[{"field": "a", "message": "b"}], num_parameters=5
    )
    created = engine.configs.create("tiny", {"max_steps": 1})
    model = created.config["model_config"]
    assert (created.config_id, model["num_layers"], model["bias"]) == ("cfg_1", 2, None)
    assert created.warnings is not None
    assert str(created.warnings[0]) == "warmup_steps: long"
    report = engine.configs.validate({"max_steps": 1}, dataset_path="/a", val_dataset_path="/b")
    (asked,) = service.asked("ValidateConfig")
    assert (asked.dataset_path, asked.val_dataset_path) == ("/a", "/b")
    assert (report.valid, report.num_parameters, report.memory_estimate) == (False, 5, None)
    assert [str(problem) for problem in report.errors] == ["a: b"]


def test_workers(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["ListWorkers"] = lambda request, context: worker_pb2.ListWorkersResponse(
        workers=[{"worker_id": "w1", "state": "WORKER_STATE_BUSY", "pid": 7}]
    )
    (worker,) = engine.workers.list()
    assert (worker.worker_id, worker.state, worker.pid) == ("w1", "busy", 7)


def _generate(*finish: str) -> Any:
    def answer(request: Any, context: Any) -> Any:
        for index, text in enumerate(["To ", "", "be"]):
            reason = finish[0] if finish and index == 2 else "FINISH_REASON_UNSPECIFIED"
            yield generation_pb2.GenerateResponse(
                index=index, token_id=index, text=text, finish_reason=reason
            )

    return answer


def test_pieces_say_their_sample_their_prompt_and_their_probabilities(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    def answer(samples: int) -> Any:
        for sample in range(samples):
            yield generation_pb2.GenerateResponse(
                token_id=5, sample=sample, prompt_tokens=3, dropped_prompt_tokens=1,
                logprob=-0.5, token_text="a", top_logprobs=[{"token_id": 5, "text": "a"}],
            )  # fmt: skip
            yield generation_pb2.GenerateResponse(
                index=1, token_id=6, text="ab", sample=sample, finish_reason="FINISH_REASON_STOP"
            )

    service.on["Generate"] = lambda request, context: answer(2)
    options: dict[str, Any] = {"stop": "x", "num_samples": 2, "logprobs": 1}
    pieces = list(engine.checkpoints.generate("c1", "x", **options))
    assert [(piece, piece.sample) for piece in pieces] == [("ab", 0), ("ab", 1)]
    assert (pieces[1].prompt_tokens, pieces[1].dropped_prompt_tokens) == (3, 1)
    top = TokenLogprob(5, "a", 0.0)
    assert pieces[0].logprobs == (TokenLogprob(5, "a", -0.5, (top,)),)
    assert [*service.asked("Generate")[0].stop] == ["x"]
    service.on["Generate"] = lambda request, context: answer(1)  # breaks off behind a sample
    with pytest.raises(UnavailableError, match="broke off before its end"):
        list(engine.checkpoints.generate("c1", num_samples=2))


def test_generated_text_comes_in_pieces(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["Generate"] = _generate("FINISH_REASON_LENGTH")
    pieces = list(engine.checkpoints.generate("c1", "x", temperature=0, seed=4))
    assert pieces == ["To ", "be"]
    assert [(piece.token_ids, piece.finish_reason) for piece in pieces] == [
        ((0,), None),
        ((1, 2), "length"),
    ]
    (request,) = service.asked("Generate")
    assert (request.prompt, request.temperature, request.seed) == ("x", 0.0, 4)
    assert request.HasField("temperature")
    assert not request.HasField("top_k")


def test_text_that_broke_off_is_no_whole_text(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["Generate"] = _generate()
    pieces = engine.checkpoints.generate("c1")
    assert [next(pieces), next(pieces)] == ["To ", "be"]
    with pytest.raises(UnavailableError, match="broke off before its end"):
        next(pieces)
    assert len(service.asked("Generate")) == 1


def test_a_dataset_is_sent_in_chunks_with_its_checksum(
    service: ScriptedService, engine: TrainingEngine, tmp_path: Path
) -> None:
    received: list[Any] = []

    def upload(requests: Any, context: Any) -> Any:
        parts = list(requests)
        received.append((parts[0].header, b"".join(part.data for part in parts[1:]), len(parts)))
        if len(received) == 1:
            refuse(context, code_pb2.UNAVAILABLE, "SHUTTING_DOWN", "restarting")
        return dataset_pb2.UploadDatasetResponse(dataset={"dataset_id": "d1", "name": "a.txt"})

    service.on["UploadDataset"] = upload
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 2_500_000)
    stored = engine.datasets.upload(file)
    assert stored.path == "dataset://d1"
    for header, data, parts in received:
        assert header.name == "a.txt"
        assert header.sha256 == hashlib.sha256(data).hexdigest()
        assert (data, parts) == (b"x" * 2_500_000, 4)
    assert len({header.request_id for header, _, _ in received}) == 1
    with pytest.raises(InvalidArgumentError, match="cannot be uploaded: Is a directory"):
        engine.datasets.upload(tmp_path)


def test_the_token_goes_with_every_call(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    with TrainingEngine(service.address, token="secret") as engine:
        engine.jobs.get("j1")
    monkeypatch.setenv("TRAINING_ENGINE_TOKEN", "other")
    monkeypatch.setenv("TRAINING_ENGINE_ADDRESS", service.address)
    with TrainingEngine() as engine:
        engine.jobs.get("j1")
    sent = [metadata.get("authorization") for metadata in service.metadata]
    assert sent == ["Bearer secret", "Bearer other"]


async def test_asyncio_does_the_same(service: ScriptedService) -> None:
    service.on["StartJob"] = started
    states = iter(["RUNNING", "SUCCEEDED"])
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(
        job=job(status=next(states))
    )
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(jobs=[job("j9")])
    service.on["Generate"] = _generate("FINISH_REASON_STOP")
    async with AsyncTrainingEngine(service.address) as engine:
        made = await engine.jobs.start({"max_steps": 5})
        assert (await made.wait(30)).status is JobStatus.SUCCEEDED
        assert [j.job_id async for j in engine.jobs.list()] == ["j9"]
        assert [piece async for piece in engine.checkpoints.generate("c1")] == ["To ", "be"]


def test_records_read_what_rest_says() -> None:
    record = read(
        JobRecord,
        {
            "job_id": "j1",
            "status": "failed",
            "worker_id": None,
            "error_reason": "non_finite_loss",
            "started_at": "2030-01-01T13:00:00.5+01:00",
            "completed_at": None,
            "a_newer_field": 1,
        },
    )
    assert record.worker_id is None
    assert record.error_reason == "non_finite_loss"
    assert record.started_at == datetime(2030, 1, 1, 12, 0, 0, 500000, tzinfo=UTC)
    plain = record.to_dict()
    assert plain["started_at"] == "2030-01-01T12:00:00.500Z"  # as REST writes it
    assert "config" not in plain
    assert (plain["status"], plain["completed_at"]) == ("failed", None)
