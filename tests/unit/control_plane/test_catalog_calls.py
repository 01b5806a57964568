"""ConfigService, CheckpointService, MetricsService and WorkerService over a real channel."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import grpc
import pytest
from failure import failure_of, read_failure
from started import TINY, running_job, stored_files, tiny_request

from app.training.config import ConfigError, FieldProblem
from control_plane import config_service
from control_plane.server import ControlPlane
from job_store.attempts import AttemptStore
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.records import (
    CheckpointRecord,
    Outcome,
    OutcomeKind,
    Phase,
    PhaseProgress,
    WorkerRecord,
    WorkerState,
)
from job_store.workers import WorkerRegistry
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    job_pb2,
    metrics_pb2,
    worker_pb2,
)


async def store_config(stubs: Any, name: str = "tiny", **fields: Any) -> config_pb2.Config:
    request = config_pb2.CreateConfigRequest(name=name, config_document=json.dumps(TINY), **fields)
    return (await stubs.configs.CreateConfig(request)).config


async def test_a_stored_config_starts_jobs_and_goes(stubs: Any) -> None:
    config = await store_config(stubs)
    got = await stubs.configs.GetConfig(config_pb2.GetConfigRequest(config_id=config.config_id))
    assert got.config == config
    assert (config.name, config.config.max_steps, config.config.batch_size) == ("tiny", 20, 8)
    job = (await stubs.jobs.StartJob(tiny_request(config_id=config.config_id))).job
    assert (job.config_id, job.max_steps) == (config.config_id, 20)
    listed = await stubs.configs.ListConfigs(config_pb2.ListConfigsRequest())
    assert [c.config_id for c in listed.configs] == [config.config_id]
    delete = config_pb2.DeleteConfigRequest(config_id=config.config_id)
    await stubs.configs.DeleteConfig(delete)
    failure = await failure_of(stubs.configs.DeleteConfig(delete))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONFIG_NOT_FOUND")


async def test_a_config_needs_a_name_and_is_stored_once(stubs: Any) -> None:
    first = await store_config(stubs, request_id="once")
    assert (await store_config(stubs, request_id="once")).config_id == first.config_id
    failure = await failure_of(store_config(stubs, name="   "))
    assert "must not be empty" in failure.fields["name"]


async def test_a_repeated_config_is_recalled_before_it_is_looked_at(
    stubs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    questionable = json.dumps(TINY | {"warmup_steps": 50})
    request = config_pb2.CreateConfigRequest(
        name="tiny", config_document=questionable, request_id="once"
    )
    first = await stubs.configs.CreateConfig(request)
    assert [warning.field for warning in first.warnings] == ["warmup_steps"]
    wrong = config_pb2.CreateConfigRequest(
        name="tiny", config_document='{"batch_size": -1}', request_id="once"
    )
    failure = await failure_of(stubs.configs.CreateConfig(wrong))
    assert failure.reason == "REQUEST_ID_REUSED"

    async def refuse(*_: Any) -> None:
        raise ConfigError([FieldProblem("batch_size", "what was allowed is refused since")])

    monkeypatch.setattr(config_service, "require_source", refuse)
    assert await stubs.configs.CreateConfig(request) == first
    delete = config_pb2.DeleteConfigRequest(config_id=first.config.config_id)
    monkeypatch.undo()
    await stubs.configs.DeleteConfig(delete)
    assert await stubs.configs.CreateConfig(request) == first  # the answer, not a new config
    listed = await stubs.configs.ListConfigs(config_pb2.ListConfigsRequest())
    assert list(listed.configs) == []


async def test_validation_tells_everything_without_storing(stubs: Any) -> None:
    document = json.dumps(TINY | {"warmup_steps": 50, "model_config": {}})
    request = config_pb2.ValidateConfigRequest(config_document=document)
    verdict = await stubs.configs.ValidateConfig(request)
    assert verdict.valid
    assert verdict.num_parameters == 124_439_808
    assert [warning.field for warning in verdict.warnings] == [
        "warmup_steps",
        "model_config.vocab_size",
        "dataset_path",
    ]
    estimate = verdict.memory_estimate
    assert estimate.parameters_bytes == estimate.gradients_bytes == 4 * 124_439_808
    assert estimate.optimizer_bytes == 8 * 124_439_808
    assert estimate.total_bytes == 16 * 124_439_808 + estimate.activations_bytes
    request = config_pb2.ValidateConfigRequest(config_document="batch_size: 0\nmodel_confg: {}\n")
    verdict = await stubs.configs.ValidateConfig(request)
    assert not verdict.valid
    assert [error.field for error in verdict.errors] == ["model_confg", "batch_size"]
    assert not verdict.HasField("memory_estimate")
    unreadable = config_pb2.ValidateConfigRequest(config_document="model_config: [")
    verdict = await stubs.configs.ValidateConfig(unreadable)
    assert [error.field for error in verdict.errors] == ["document"]
    assert not verdict.HasField("num_parameters")
    failure = await failure_of(stubs.configs.ValidateConfig(config_pb2.ValidateConfigRequest()))
    assert failure.message.endswith("give `config` or `config_document`")


async def test_a_whole_page_of_problems_reaches_an_ordinary_client(stubs: Any) -> None:
    """Status details travel in trailers, which clients limit to 8 KiB by default."""
    wrong = json.dumps({f"unknown_key_{i}": i for i in range(300)})
    request = tiny_request(config_document=wrong)
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert failure.reason == "INVALID_CONFIG"
    assert failure.message.startswith("the configuration has 300 problems:")
    assert "unknown_key_0" in failure.fields
    assert "ValidateConfig lists all" in failure.fields[""]
    verdict = await stubs.configs.ValidateConfig(
        config_pb2.ValidateConfigRequest(config_document=wrong)
    )
    assert len(verdict.errors) == 300


async def saved_checkpoint(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane, data: bytes
) -> CheckpointRecord:
    """A checkpoint of a job that has succeeded, its file in the store."""
    job_id, token = await running_job(stubs, attempts)
    info = plane.state.artifacts.put(f"jobs/{job_id}/attempts/1-a/step_2.pt", [data])
    record = CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=job_id,
        attempt=1,
        step=2,
        loss=2.5,
        size_bytes=info.size_bytes,
        sha256=info.sha256,
        artifact=info.key,
        created_at=0,
        best_score=2.0,
    )
    attempts.publish_metrics(token, [MetricPoint(2, {"loss": 2.5}, 1)])
    attempts.register_checkpoint(token, record)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    return record


async def download(stubs: Any, checkpoint_id: str, **fields: int) -> list[Any]:
    request = checkpoint_pb2.DownloadCheckpointRequest(checkpoint_id=checkpoint_id, **fields)
    return [message async for message in stubs.checkpoints.DownloadCheckpoint(request)]


async def download_first(stubs: Any, checkpoint_id: str, **fields: int) -> Any:
    """The first message alone."""
    request = checkpoint_pb2.DownloadCheckpointRequest(checkpoint_id=checkpoint_id, **fields)
    return await stubs.checkpoints.DownloadCheckpoint(request).read()


async def test_checkpoints_download_whole_and_in_part(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    data = bytes(range(256)) * 10_000
    record = await saved_checkpoint(stubs, attempts, plane, data)
    listed = await stubs.checkpoints.ListCheckpoints(
        checkpoint_pb2.ListCheckpointsRequest(job_id=record.job_id)
    )
    assert [(c.checkpoint_id, c.step, c.loss, c.is_best) for c in listed.checkpoints] == [
        (record.checkpoint_id, 2, 2.5, True)
    ]
    whole = await download(stubs, record.checkpoint_id)
    assert b"".join(message.data for message in whole) == data
    assert whole[0].checkpoint.sha256 == hashlib.sha256(data).hexdigest()
    assert [message.offset for message in whole] == [0, 1 << 20, 2 << 20]
    part = await download(stubs, record.checkpoint_id, offset=1_500_000, length=70_000)
    assert b"".join(message.data for message in part) == data[1_500_000:1_570_000]
    assert part[0].offset == 1_500_000
    end = await download(stubs, record.checkpoint_id, offset=len(data))
    assert [(message.offset, message.data) for message in end] == [(len(data), b"")]


async def test_what_a_download_refuses(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    record = await saved_checkpoint(stubs, attempts, plane, b"abc")
    path = plane.state.artifacts.local_path(record.artifact)
    assert path is not None
    checks: list[tuple[str, dict[str, int], str, str]] = [
        ("ckpt_none", {}, "CHECKPOINT_NOT_FOUND", "there is no checkpoint 'ckpt_none'"),
        (record.checkpoint_id, {"offset": -1}, "INVALID_ARGUMENT", "`offset` is -1"),
        (record.checkpoint_id, {"offset": 4}, "OFFSET_OUT_OF_RANGE", "offset 4 is outside"),
    ]
    for checkpoint_id, fields, reason, text in checks:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await download(stubs, checkpoint_id, **fields)
        assert read_failure(caught.value).reason == reason
        assert text in read_failure(caught.value).message
    path.write_bytes(b"ab")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await download(stubs, record.checkpoint_id)
    failure = read_failure(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED")
    assert "has 2 bytes where 3 bytes was recorded" in failure.message
    path.unlink()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await download(stubs, record.checkpoint_id)
    assert read_failure(caught.value).reason == "ARTIFACT_DAMAGED"


async def test_a_damaged_checkpoint_is_never_delivered_as_a_whole(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    data = bytes(range(256)) * 10_000
    record = await saved_checkpoint(stubs, attempts, plane, data)
    path = plane.state.artifacts.local_path(record.artifact)
    assert path is not None
    part = await download(stubs, record.checkpoint_id, offset=100, length=50)
    assert b"".join(message.data for message in part) == data[100:150]
    path.write_bytes(b"?" + data[1:])
    request = checkpoint_pb2.DownloadCheckpointRequest(checkpoint_id=record.checkpoint_id)
    call = stubs.checkpoints.DownloadCheckpoint(request)
    received = [(await call.read()).data, (await call.read()).data]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert read_failure(caught.value).reason == "ARTIFACT_DAMAGED"
    assert f"another sha256 where sha256 {record.sha256}" in read_failure(caught.value).message
    assert [len(data) for data in received] == [1 << 20, 1 << 20]  # all but the last piece
    for fields in ({}, {"offset": 100, "length": 50}, {"length": len(data)}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # known: not a byte is sent
            await download_first(stubs, record.checkpoint_id, **fields)
        assert read_failure(caught.value).reason == "ARTIFACT_DAMAGED"
    path.write_bytes(data)
    whole = await download(stubs, record.checkpoint_id)
    assert b"".join(message.data for message in whole) == data
    path.write_bytes(data[:-1] + b"?")
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # a part of what was never read before
        await download_first(stubs, record.checkpoint_id, offset=100, length=50)
    assert read_failure(caught.value).reason == "ARTIFACT_DAMAGED"


async def test_deleting_a_checkpoint_and_its_job(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    record = await saved_checkpoint(stubs, attempts, plane, b"abc")
    delete = checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id=record.checkpoint_id)
    await stubs.checkpoints.DeleteCheckpoint(delete)
    assert stored_files(plane) == []
    failure = await failure_of(stubs.checkpoints.DeleteCheckpoint(delete))
    assert failure.reason == "CHECKPOINT_NOT_FOUND"
    other = await saved_checkpoint(stubs, attempts, plane, b"abc")
    assert len(stored_files(plane)) == 1
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=other.job_id))
    assert stored_files(plane) == []


async def test_a_checkpoint_that_a_job_continues_from_is_in_use(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    record = await saved_checkpoint(stubs, attempts, plane, b"abc")
    delete = checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id=record.checkpoint_id)
    await stubs.jobs.ResumeJob(job_pb2.ResumeJobRequest(job_id=record.job_id, max_steps=1000))
    failure = await failure_of(stubs.checkpoints.DeleteCheckpoint(delete))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert "it continues from it; stop it first" in failure.message
    claimed = attempts.claim(record.job_id, 2, "worker-2")
    assert claimed is not None
    assert claimed.resume_from is not None
    assert claimed.resume_from.checkpoint_id == record.checkpoint_id
    failure = await failure_of(stubs.checkpoints.DeleteCheckpoint(delete))
    assert (failure.reason, len(stored_files(plane))) == ("IN_USE", 1)


async def test_a_repeated_deletion_gives_the_first_answer(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    record = await saved_checkpoint(stubs, attempts, plane, b"abc")
    delete = checkpoint_pb2.DeleteCheckpointRequest(
        checkpoint_id=record.checkpoint_id, request_id="once"
    )
    for _ in range(2):
        await stubs.checkpoints.DeleteCheckpoint(delete)
    other = checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id="ckpt_none", request_id="once")
    failure = await failure_of(stubs.checkpoints.DeleteCheckpoint(other))
    assert failure.reason == "REQUEST_ID_REUSED"


async def test_metrics_latest_history_chart_and_throughput(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    get = metrics_pb2.GetMetricsRequest(job_id=job_id)
    failure = await failure_of(stubs.metrics.GetMetrics(get))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "METRICS_NOT_FOUND")
    values = {"steps_per_second": 4.0, "tokens_per_second": 99.0, "tokens_seen": 640.0}
    points = [
        MetricPoint(s, {"loss": 1.0 / s, "lr": s / 10, "mine": -s, **values}, s)
        for s in range(1, 11)
    ]
    attempts.publish_metrics(token, points)
    latest = (await stubs.metrics.GetMetrics(get)).metrics
    assert (latest.step, latest.loss, latest.tokens_seen) == (10, 0.1, 640)
    assert not latest.HasField("val_loss")
    assert latest.custom == {"mine": -10.0}
    speed = await stubs.metrics.GetThroughput(metrics_pb2.GetThroughputRequest(job_id=job_id))
    assert (speed.step, speed.steps_per_second, speed.tokens_per_second) == (10, 4.0, 99.0)
    attempts.report_progress(
        token, 10, Phase.VALIDATING, done=PhaseProgress(3, 5), eta_seconds=12.5
    )
    job = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    (listed,) = (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    for shown in (job, listed):
        assert shown.eta_seconds == 12.5
        assert (shown.phase_done, shown.phase_total) == (3, 5)
    history = metrics_pb2.ListMetricsRequest(job_id=job_id, after_step=2, to_step=8, page_size=4)
    page = await stubs.metrics.ListMetrics(history)
    assert [point.step for point in page.points] == [3, 4, 5, 6]
    history.page_token = page.next_page_token
    page = await stubs.metrics.ListMetrics(history)
    assert ([point.step for point in page.points], page.next_page_token) == ([7, 8], "")
    chart = await stubs.metrics.ListMetrics(
        metrics_pb2.ListMetricsRequest(job_id=job_id, max_points=4)
    )
    assert len(chart.points) <= 4
    steps = [point.step for point in chart.points]
    assert (steps[0], steps[-1], steps) == (1, 10, sorted(set(steps)))
    assert max(point.loss for point in chart.points) == 1.0
    assert min(point.loss for point in chart.points) == 0.1
    assert [point.custom["mine"] for point in chart.points][::3] == [-1.0, -10.0]
    bad = metrics_pb2.ListMetricsRequest(job_id=job_id, max_points=1)
    failure = await failure_of(stubs.metrics.ListMetrics(bad))
    assert failure.fields["max_points"] == (
        "`max_points` is 1; it must be at least 2; try 1000, or leave it out for every point"
    )
    range_of_steps: dict[str, Any] = {"job_id": job_id, "from_step": 10, "to_step": 5}
    for call in (
        stubs.metrics.ListMetrics(metrics_pb2.ListMetricsRequest(**range_of_steps)),
        stubs.metrics.ListSamples(metrics_pb2.ListSamplesRequest(**range_of_steps)),
    ):
        assert (await failure_of(call)).fields["from_step"] == (
            "the range from `from_step` 10 to `to_step` 5 is empty; `from_step` must not be "
            "greater than `to_step`"
        )


async def test_workers_are_listed_page_by_page(stubs: Any, registry: WorkerRegistry) -> None:
    for name in ("b", "a", "c"):
        registry.heartbeat(WorkerRecord(name, WorkerState.IDLE, "cpu", "host", 7, 1_000, 0))
    request = worker_pb2.ListWorkersRequest(page_size=2)
    first = await stubs.workers.ListWorkers(request)
    assert [worker.worker_id for worker in first.workers] == ["a", "b"]
    assert first.workers[0].state == worker_pb2.WORKER_STATE_IDLE
    assert first.workers[0].last_heartbeat.seconds > 0
    request.page_token = first.next_page_token
    last = await stubs.workers.ListWorkers(request)
    assert ([w.worker_id for w in last.workers], last.next_page_token) == (["c"], "")
    request.page_token = "forged"
    failure = await failure_of(stubs.workers.ListWorkers(request))
    assert failure.reason == "INVALID_PAGE_TOKEN"


async def test_characters_that_no_message_can_carry(stubs: Any) -> None:
    for document, field in (
        (r'{"\ud800": 1}', "?"),
        (r'{"wandb_run_name": "a\ud800"}', "wandb_run_name"),
    ):
        request = config_pb2.ValidateConfigRequest(config_document=document)
        verdict = await stubs.configs.ValidateConfig(request)
        assert [error.field for error in verdict.errors] == [field]
        failure = await failure_of(stubs.jobs.StartJob(tiny_request(config_document=document)))
        assert list(failure.fields) == [field]
