"""Input of absurd size or from elsewhere: a clear refusal, and the service goes on."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from failure import failure_of
from started import TINY, running_job, start, tiny_request

from job_store.attempts import AttemptStore
from job_store.connection import Connection
from training_engine.v1 import checkpoint_pb2, config_pb2, dataset_pb2, job_pb2, metrics_pb2

TEN_MIB = 10 << 20
LARGE = "x" * TEN_MIB


def large_document() -> str:
    return json.dumps(TINY | {"wandb_run_name": LARGE})


async def test_a_config_document_of_ten_megabytes_is_refused_at_every_door(stubs: Any) -> None:
    document = large_document()
    calls = (
        stubs.configs.CreateConfig(
            config_pb2.CreateConfigRequest(name="large", config_document=document)
        ),
        stubs.configs.ValidateConfig(config_pb2.ValidateConfigRequest(config_document=document)),
        stubs.jobs.StartJob(tiny_request(config_document=document)),
    )
    for call in calls:
        failure = await failure_of(call)
        assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failure.reason == "PAYLOAD_TOO_LARGE"
        assert f"has {len(document)} characters" in failure.fields["config_document"]
    assert not (await stubs.configs.ListConfigs(config_pb2.ListConfigsRequest())).configs
    assert await start(stubs)


async def test_a_typed_config_of_ten_megabytes_is_refused_too(stubs: Any) -> None:
    typed = config_pb2.TrainingConfig(wandb_run_name=LARGE, max_steps=5)
    typed.model_config.CopyFrom(config_pb2.TransformerConfig(hidden_size=32, num_heads=2))
    for call in (
        stubs.configs.CreateConfig(config_pb2.CreateConfigRequest(name="large", config=typed)),
        stubs.configs.ValidateConfig(config_pb2.ValidateConfigRequest(config=typed)),
        stubs.jobs.StartJob(tiny_request(config=typed)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "PAYLOAD_TOO_LARGE"
        assert len(failure.message) < 1000
    assert not (await stubs.configs.ListConfigs(config_pb2.ListConfigsRequest())).configs


async def test_a_message_beyond_the_bound_is_refused_and_the_channel_lives_on(stubs: Any) -> None:
    request = tiny_request(config_document="x" * (17 << 20))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stubs.jobs.StartJob(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await start(stubs)


@pytest.mark.parametrize("field", ["name", "request_id", "dataset_path", "config_id"])
async def test_other_fields_of_ten_megabytes_are_refused(stubs: Any, field: str) -> None:
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(**{field: LARGE})))
    assert failure.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert len(failure.message) < 1000
    assert not (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs


ODD = ["", "x", "0", "é" * 200, "job_*", "../../x", "%00", "te:job:1", "{}", "A" * 100_000]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_odd_ids_are_unknown_everywhere(stubs: Any, odd: str) -> None:
    calls = {
        "JOB_NOT_FOUND": [
            stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=odd)),
            stubs.jobs.BatchGetJobs(job_pb2.BatchGetJobsRequest(job_ids=[odd])),
            stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=odd)),
            stubs.jobs.ResumeJob(job_pb2.ResumeJobRequest(job_id=odd)),
            stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=odd)),
            stubs.jobs.ListLogs(job_pb2.ListLogsRequest(job_id=odd)),
            stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=odd)).read(),
            stubs.metrics.GetMetrics(metrics_pb2.GetMetricsRequest(job_id=odd)),
            stubs.metrics.ListMetrics(metrics_pb2.ListMetricsRequest(job_id=odd)),
            stubs.metrics.GetThroughput(metrics_pb2.GetThroughputRequest(job_id=odd)),
            stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=odd)).read(),
            stubs.checkpoints.ListCheckpoints(checkpoint_pb2.ListCheckpointsRequest(job_id=odd)),
        ],
        "CHECKPOINT_NOT_FOUND": [
            stubs.checkpoints.GetCheckpoint(checkpoint_pb2.GetCheckpointRequest(checkpoint_id=odd)),
            stubs.checkpoints.DeleteCheckpoint(
                checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id=odd)
            ),
            stubs.checkpoints.DownloadCheckpoint(
                checkpoint_pb2.DownloadCheckpointRequest(checkpoint_id=odd)
            ).read(),
        ],
        "CONFIG_NOT_FOUND": [
            stubs.configs.GetConfig(config_pb2.GetConfigRequest(config_id=odd)),
            stubs.configs.DeleteConfig(config_pb2.DeleteConfigRequest(config_id=odd)),
        ],
        "DATASET_NOT_FOUND": [
            stubs.datasets.GetDataset(dataset_pb2.GetDatasetRequest(dataset_id=odd)),
            stubs.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=odd)),
        ],
    }
    for reason, failing in calls.items():
        for call in failing:
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, reason)
            assert len(failure.message) < 1000


async def test_page_tokens_of_another_list_or_job_are_refused(
    stubs: Any, attempts: AttemptStore
) -> None:
    ids = [await start(stubs) for _ in range(2)]
    page = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=1))
    foreign = page.next_page_token
    assert foreign
    calls = [
        stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_token=foreign, status=1)),
        stubs.jobs.ListLogs(job_pb2.ListLogsRequest(job_id=ids[0], page_token=foreign)),
        stubs.configs.ListConfigs(config_pb2.ListConfigsRequest(page_token=foreign)),
        stubs.datasets.ListDatasets(dataset_pb2.ListDatasetsRequest(page_token=foreign)),
        stubs.metrics.ListMetrics(
            metrics_pb2.ListMetricsRequest(job_id=ids[0], page_token=foreign)
        ),
        stubs.checkpoints.ListCheckpoints(
            checkpoint_pb2.ListCheckpointsRequest(job_id=ids[0], page_token=foreign)
        ),
    ]
    calls += [
        stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_token=token))
        for token in ("x", "é", "AAAA", "-1", "A" * 100_000, foreign[:-1])
    ]
    for call in calls:
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_PAGE_TOKEN",
        )
        assert "pass next_page_token of the previous page of the same list" in failure.message


async def test_cursors_of_another_job_are_refused(stubs: Any, attempts: AttemptStore) -> None:
    first, _ = await running_job(stubs, attempts)
    second, _ = await running_job(stubs, attempts)
    event = await stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=first)).read()
    for after in (event.cursor, "x", "é", "0-0", "A" * 100_000):
        watch = stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=second, after=after))
        failure = await failure_of(watch.read())
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_CURSOR",
        )


@pytest.mark.parametrize("version", ["0", "2", ""])
async def test_a_record_of_another_version_is_named_and_hides_no_other(
    stubs: Any, worker_connection: Connection, version: str
) -> None:
    old, good = [await start(stubs) for _ in range(2)]
    worker_connection.command("HSET", f"te:job:{old}", "v", version)
    for call in (
        stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=old)),
        stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=old)),
        stubs.jobs.ResumeJob(job_pb2.ResumeJobRequest(job_id=old)),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "RECORD_VERSION",
        )
        assert old in failure.message
        assert "run the version that wrote it, or delete it" in failure.message
    listed = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())
    assert [job.job_id for job in listed.jobs] == [good]
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=old))
    failure = await failure_of(stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=old)))
    assert failure.reason == "JOB_NOT_FOUND"
