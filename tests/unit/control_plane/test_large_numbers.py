"""Numbers beyond all use: each door names the field, and what is stored of them hides nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from failure import failure_of
from started import TINY, running_job, start, tiny_request

from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.ids import new_id
from job_store.records import CheckpointRecord, FencingToken, Outcome, OutcomeKind
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    generation_pb2,
    job_pb2,
    metrics_pb2,
    worker_pb2,
)

INT64 = (-(2**63), -1, 0, 2**53 + 1, 2**63 - 1)
INT32 = (-(2**31), -1, 0, 2**31 - 1)
DOUBLES = (float("nan"), float("inf"), -float("inf"), -1.0, 5e-324, 1e308)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("learning_rate: " + "9" * 400, "learning_rate"),
        ("model_config: {vocab_size: 1e30}", "model_config.vocab_size"),
        (f"model_config: {{hidden_size: {2**62}}}", "model_config.hidden_size"),
        ("max_steps: 0x" + "f" * 30_000, "max_steps"),
    ],
)
async def test_a_number_beyond_all_use_is_named_at_every_door(
    stubs: Any, document: str, field: str
) -> None:
    checked = await stubs.configs.ValidateConfig(
        config_pb2.ValidateConfigRequest(config_document=document)
    )
    assert [problem.field for problem in checked.errors] == [field]
    for call in (
        stubs.configs.CreateConfig(
            config_pb2.CreateConfigRequest(name="large", config_document=document)
        ),
        stubs.jobs.StartJob(tiny_request(config_document=document)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "INVALID_CONFIG"
        assert list(failure.fields) == [field]


async def test_what_follows_from_several_large_sizes_can_be_sent(stubs: Any) -> None:
    model = {"hidden_size": 2**20, "num_layers": 7, "num_heads": 16, "vocab_size": 10**6}
    document = json.dumps({"model_config": model, "batch_size": 2**24, "sequence_length": 1024})
    checked = await stubs.configs.ValidateConfig(
        config_pb2.ValidateConfigRequest(config_document=document)
    )
    assert checked.valid
    assert 10**13 < checked.num_parameters <= 10**14
    assert checked.memory_estimate.total_bytes == 2**53


def registered(attempts: AttemptStore, token: FencingToken, step: int) -> str:
    """The id of a checkpoint whose file is nowhere."""
    record = CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=2.5,
        size_bytes=3,
        sha256="ab" * 32,
        artifact=f"jobs/{token.job_id}/attempts/1-{token.claim_id}/{step}.pt",
        created_at=0,
    )
    attempts.register_checkpoint(token, record)
    return record.checkpoint_id


def numeric_requests(job_id: str, checkpoint_id: str) -> Iterator[tuple[str, Any]]:
    """Every call with a number that a client chooses, over the edges of what the field holds."""
    for n in INT32:
        yield "ListJobs", job_pb2.ListJobsRequest(page_size=n)
        yield "ListConfigs", config_pb2.ListConfigsRequest(page_size=n)
        yield "ListDatasets", dataset_pb2.ListDatasetsRequest(page_size=n)
        yield "ListWorkers", worker_pb2.ListWorkersRequest(page_size=n)
        yield "ListLogs", job_pb2.ListLogsRequest(job_id=job_id, page_size=n)
        yield (
            "ListCheckpoints",
            checkpoint_pb2.ListCheckpointsRequest(job_id=job_id, page_size=n),
        )
        yield "ListMetrics", metrics_pb2.ListMetricsRequest(job_id=job_id, page_size=n)
        yield "ListMetrics", metrics_pb2.ListMetricsRequest(job_id=job_id, max_points=n)
        for name in ("processes", "nodes", "max_retries"):
            run = job_pb2.Execution(**{name: n})
            yield "StartJob", tiny_request(dataset_path="nowhere", execution=run)
    for n in INT64:
        steps: tuple[dict[str, Any], ...] = ({"after_step": n}, {"from_step": n}, {"to_step": n})
        for bound in steps:
            for most in (0, 10):
                yield (
                    "ListMetrics",
                    metrics_pb2.ListMetricsRequest(job_id=job_id, max_points=most, **bound),
                )
        yield "StreamMetrics", metrics_pb2.StreamMetricsRequest(job_id=job_id, after_step=n)
        yield "WatchJob", job_pb2.WatchJobRequest(job_id=job_id, after_step=n)
        yield "ResumeJob", job_pb2.ResumeJobRequest(job_id=job_id, max_steps=n)
        for name in ("offset", "length"):
            part: Any = {name: n}
            yield (
                "DownloadCheckpoint",
                checkpoint_pb2.DownloadCheckpointRequest(checkpoint_id=checkpoint_id, **part),
            )


async def outcome_of(stubs: Any, method: str, request: Any) -> tuple[grpc.StatusCode, str]:
    services = (stubs.jobs, stubs.configs, stubs.datasets, stubs.workers, stubs.metrics)
    service = next(s for s in (*services, stubs.checkpoints) if hasattr(s, method))
    call = getattr(service, method)(request, timeout=20)
    try:
        if hasattr(call, "read"):
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.DATA_LOSS,  # this test registers a checkpoint that has no file
}


async def test_every_number_of_every_call_works_or_is_refused(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    checkpoint_id = registered(attempts, token, 1)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    for method, request in numeric_requests(job_id, checkpoint_id):
        code, text = await outcome_of(stubs, method, request)
        assert code is grpc.StatusCode.OK or code in REFUSED, (method, request, code, text)


@pytest.mark.parametrize("field", ["max_tokens", "top_k", "temperature", "top_p", "seed"])
async def test_a_number_that_no_worker_can_sample_with_is_refused_at_once(
    stubs: Any, field: str
) -> None:
    """Before a worker has loaded the model: none runs here."""
    values = {"max_tokens": INT32, "top_k": INT32, "seed": INT64}.get(field, DOUBLES)
    for value in values:
        if field in ("max_tokens", "top_k") and value > 0:
            continue
        if field == "seed" and value >= 0:
            continue
        if field in ("temperature", "top_p") and 0 < value < float("inf"):
            continue
        given: Any = {field: value}
        request = generation_pb2.GenerateRequest(checkpoint_id="x", **given)
        failure = await failure_of(stubs.generation.Generate(request).read())
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"`{field}` is {value}; it must be" in failure.fields[field]


async def test_a_job_whose_numbers_no_message_holds_hides_no_other(
    stubs: Any, worker_connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """As earlier releases could store it."""
    damaged, sound = [await start(stubs) for _ in range(2)]
    worker_connection.command("HSET", f"te:job:{damaged}", "max_steps", 2**63)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            listed = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())
            assert [job.job_id for job in listed.jobs] == [sound]
    assert [damaged in line for line in caplog.messages if "left out" in line] == [True]
    failure = await failure_of(stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=damaged)))
    assert failure.reason == "RECORD_VERSION"
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=damaged))


@pytest.mark.parametrize(
    "model", [{"vocab_size": 10**30}, {"vocab_size": "many"}, 5], ids=["large", "text", "number"]
)
async def test_a_configuration_that_no_message_holds_hides_nothing(
    stubs: Any, worker_connection: Connection, model: Any
) -> None:
    document = json.dumps(TINY | {"model_config": model})
    job_id = await start(stubs)
    worker_connection.command("SET", f"te:job:{job_id}:config", document)
    found = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert not found.HasField("config")
    assert "cannot be shown" in found.warnings[-1].message
    stopped = await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))
    assert stopped.job.status == job_pb2.JOB_STATUS_STOPPED

    ids = []
    for name in ("damaged", "sound"):
        request = config_pb2.CreateConfigRequest(name=name, config_document=json.dumps(TINY))
        ids.append((await stubs.configs.CreateConfig(request)).config.config_id)
    worker_connection.command("HSET", f"te:config:{ids[0]}", "document", document)
    listed = await stubs.configs.ListConfigs(config_pb2.ListConfigsRequest())
    assert [config.config_id for config in listed.configs] == [ids[1]]
    failure = await failure_of(
        stubs.configs.GetConfig(config_pb2.GetConfigRequest(config_id=ids[0]))
    )
    assert failure.reason == "RECORD_VERSION"


async def test_a_checkpoint_that_cannot_be_read_hides_no_other(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    job_id, token = await running_job(stubs, attempts)
    ids = [registered(attempts, token, step) for step in (1, 2, 3, 4)]
    for damaged in ids[1:3]:
        worker_connection.command(
            "HSET", f"te:job:{job_id}:checkpoint_data", damaged, b'1\n{"v": 1, "step": 1e400}'
        )
    seen, page_token = [], ""
    while True:
        page = await stubs.checkpoints.ListCheckpoints(
            checkpoint_pb2.ListCheckpointsRequest(job_id=job_id, page_size=1, page_token=page_token)
        )
        seen += [checkpoint.checkpoint_id for checkpoint in page.checkpoints]
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == [ids[0], ids[3]]
    failure = await failure_of(
        stubs.checkpoints.GetCheckpoint(checkpoint_pb2.GetCheckpointRequest(checkpoint_id=ids[1]))
    )
    assert failure.reason == "RECORD_VERSION"


async def test_a_queued_record_that_cannot_be_read_holds_no_other_up(
    stubs: Any, worker_connection: Connection, attempts: AttemptStore
) -> None:
    damaged, _ = [await start(stubs) for _ in range(2)]
    worker_connection.command("HSET", f"te:job:{damaged}", "attempt", "two")
    _, token = await running_job(stubs, attempts)
    assert token.attempt == 1
