"""JobService over a real channel: start, get, list, stop, resume, delete, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from failure import failure_of
from rq.job import Job
from rq.serializers import JSONSerializer
from started import TINY, start, tiny_request

from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.ids import new_id
from job_store.queues import RUN_ATTEMPT
from job_store.records import CheckpointRecord, Outcome, OutcomeKind, Phase
from training_engine.v1 import config_pb2, job_pb2


def checkpoint_of(token: Any, step: int) -> CheckpointRecord:
    return CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=2.5,
        size_bytes=3,
        sha256="ab" * 32,
        artifact=f"jobs/{token.job_id}/attempts/1-x/checkpoint_step_{step}.pt",
        created_at=0,
    )


async def test_start_stores_the_resolved_job(stubs: Any, data_root: Path) -> None:
    typed = config_pb2.TrainingConfig(
        max_steps=20,
        warmup_steps=2,
        model_config=config_pb2.TransformerConfig(hidden_size=32, num_heads=2, num_layers=1),
    )
    response = await stubs.jobs.StartJob(tiny_request(config=typed, name="  first  "))
    job = response.job
    assert job.status == job_pb2.JOB_STATUS_QUEUED
    assert (job.name, job.attempt, job.max_steps, job.current_step) == ("first", 1, 20, 0)
    assert job.dataset_path == str(data_root / "corpus.txt")
    assert job.config.dataset_path == job.dataset_path
    assert job.config.model_config.hidden_size == 32
    assert job.config.model_config.vocab_size == 50257  # a default, spelled out
    assert job.execution.max_retries == 3
    assert job.execution.priority == job_pb2.JOB_PRIORITY_DEFAULT
    assert not job.HasField("started_at")
    got = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.job_id))).job
    assert got.config == job.config
    assert got.created_at == job.created_at
    assert not got.HasField("eta_seconds")


async def test_start_puts_one_plain_message_into_the_queue(
    stubs: Any, worker_connection: Connection
) -> None:
    execution = job_pb2.Execution(priority=job_pb2.JOB_PRIORITY_HIGH)
    job = (await stubs.jobs.StartJob(tiny_request(execution=execution))).job
    client = worker_connection.client
    waiting = client.lrange("rq:queue:training:high", 0, -1)
    assert waiting == [f"{job.job_id}-1".encode()]
    message = Job.fetch(waiting[0].decode(), connection=client, serializer=JSONSerializer)
    assert message.func_name == RUN_ATTEMPT
    assert tuple(message.args) == (job.job_id, 1)
    assert message.timeout == -1


async def test_a_cuda_job_waits_for_cuda_and_says_so_where_there_is_none(
    stubs: Any, worker_connection: Connection
) -> None:
    execution = job_pb2.Execution(device="cuda:0")
    job = (await stubs.jobs.StartJob(tiny_request(execution=execution))).job
    waiting = worker_connection.client.lrange("rq:queue:training:default:cuda", 0, -1)
    assert waiting == [f"{job.job_id}-1".encode()]
    warnings = {warning.field: warning.message for warning in job.warnings}
    assert warnings["execution.device"] == (
        "no worker offers 'cuda:0' at the moment; the job waits for one; "
        "start a worker on a machine with a GPU, or leave the device out"
    )


async def test_one_start_for_one_request_id(stubs: Any) -> None:
    first = await stubs.jobs.StartJob(tiny_request(request_id="r1"))
    again = await stubs.jobs.StartJob(tiny_request(request_id="r1"))
    assert again.job.job_id == first.job.job_id
    assert len((await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs) == 1
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(request_id="r1", name="other")))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "REQUEST_ID_REUSED"
    assert "request_id 'r1' was already used for another request" in failure.message


async def test_a_repeated_request_is_answered_although_it_could_not_begin_any_more(
    stubs: Any, data_root: Path, attempts: AttemptStore
) -> None:
    first = await stubs.jobs.StartJob(tiny_request(request_id="start"))
    (data_root / "corpus.txt").unlink()
    again = await stubs.jobs.StartJob(tiny_request(request_id="start"))
    assert again == first
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(request_id="other")))
    assert failure.reason == "PATH_NOT_FOUND"
    job_id = first.job.job_id
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))
    resume = job_pb2.ResumeJobRequest(job_id=job_id, max_steps=40, request_id="resume")
    resumed = await stubs.jobs.ResumeJob(resume)
    assert (resumed.job.attempt, resumed.job.max_steps) == (2, 40)
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=job_id))
    again = await stubs.jobs.ResumeJob(resume)
    assert (again.job.job_id, again.job.attempt) == (job_id, 2)


async def test_every_problem_in_one_answer_by_both_doors(stubs: Any) -> None:
    wrong = {"batch_size": 0, "learning_rate": -1.0, "model_config": {"num_heads": 5}}
    document = json.dumps({**wrong, "lerning_rate": 1})
    by_text = await failure_of(stubs.jobs.StartJob(tiny_request(config_document=document)))
    assert by_text.reason == "INVALID_CONFIG"
    assert set(by_text.fields) == {
        "lerning_rate", "batch_size", "learning_rate", "model_config.num_heads",
    }  # fmt: skip
    assert "did you mean `learning_rate`?" in by_text.fields["lerning_rate"]
    assert by_text.fields["learning_rate"].startswith("`learning_rate` is -1.0; it must be above 0")
    typed = config_pb2.TrainingConfig(
        batch_size=0, learning_rate=-1.0, model_config=config_pb2.TransformerConfig(num_heads=5)
    )
    by_type = await failure_of(stubs.jobs.StartJob(tiny_request(config=typed)))
    del by_text.fields["lerning_rate"]
    assert by_type.fields == by_text.fields


async def test_unknown_fields_of_newer_protos_are_problems(stubs: Any) -> None:
    newer = config_pb2.TrainingConfig()
    newer.ParseFromString(b"\xba\x3e\x01x")  # field 999
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(config=newer)))
    assert "fields that this service does not know" in failure.fields["config"]


@pytest.mark.parametrize(
    ("fields", "reason", "field", "text"),
    [
        ({"dataset_path": ""}, "INVALID_CONFIG", "dataset_path", "`dataset_path` is missing"),
        ({"dataset_path": "/etc/passwd"}, "PATH_NOT_ALLOWED", "dataset_path", "not under an"),
        ({"dataset_path": "../x"}, "PATH_NOT_ALLOWED", "dataset_path", "not under an allowed"),
        ({"dataset_path": "no.txt"}, "PATH_NOT_FOUND", "dataset_path", "which does not exist"),
        ({"dataset_path": "a\0b"}, "PATH_NOT_ALLOWED", "dataset_path", "no NUL"),
        ({"val_dataset_path": "/x"}, "PATH_NOT_ALLOWED", "val_dataset_path", "not under"),
        ({"name": "x" * 201}, "INVALID_ARGUMENT", "name", "0 to 200 printable characters"),
        ({"request_id": "a\nb"}, "INVALID_ARGUMENT", "request_id", "printable characters"),
        (
            {"execution": job_pb2.Execution(processes=65)},
            "INVALID_CONFIG",
            "execution.processes",
            "`execution.processes` is 65; a job runs in at most 64 processes; ask for fewer",
        ),
        (
            {
                "execution": job_pb2.Execution(processes=2),
                "config_document": json.dumps(TINY | {"distributed": {"processes": 4}}),
            },
            "INVALID_CONFIG",
            "execution.processes",
            "is 2; `distributed.processes` is 4, and both mean the same; give one of them",
        ),
        (
            {"execution": job_pb2.Execution(nodes=65)},
            "INVALID_CONFIG",
            "execution.nodes",
            "`execution.nodes` is 65; a job runs on at most 64 nodes; ask for fewer",
        ),
        (
            {"execution": job_pb2.Execution(nodes=0)},
            "INVALID_CONFIG",
            "execution.nodes",
            "it must be at least 1",
        ),
        (
            {"execution": job_pb2.Execution(stop_timeout_seconds=float("nan"))},
            "INVALID_CONFIG",
            "execution.stop_timeout_seconds",
            "try 300",
        ),
        (
            {"execution": job_pb2.Execution(device="tpu")},
            "INVALID_CONFIG",
            "execution.device",
            "`execution.device` is 'tpu'; it must be auto, cpu, cuda, cuda:N or mps",
        ),
    ],
)
async def test_what_a_start_refuses(
    stubs: Any, fields: dict[str, Any], reason: str, field: str, text: str
) -> None:
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(**fields)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == reason
    assert text in failure.fields[field]


async def test_links_do_not_lead_out_of_a_root(stubs: Any, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (data_root / "link.txt").symlink_to(tmp_path / "secret.txt")
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(dataset_path="link.txt")))
    assert failure.reason == "PATH_NOT_ALLOWED"


async def test_a_job_keeps_the_roots_that_its_worker_is_to_obey(
    stubs: Any, data_root: Path, worker_connection: Connection, attempts: AttemptStore
) -> None:
    job_id = await start(stubs)
    claimed = attempts.claim(job_id, 1, "worker-1")
    assert claimed is not None
    assert claimed.record.data_roots == (str(data_root),)
    # A record of a release that kept none says that nothing is known of them.
    older = await start(stubs)
    worker_connection.command("HDEL", f"te:job:{older}", "data_roots")
    claimed = attempts.claim(older, 1, "worker-1")
    assert claimed is not None
    assert claimed.record.data_roots is None


async def test_a_start_without_config_or_with_an_unknown_one(stubs: Any) -> None:
    nothing = job_pb2.StartJobRequest(dataset_path="corpus.txt")
    failure = await failure_of(stubs.jobs.StartJob(nothing))
    assert failure.message.endswith("give `config`, `config_document` or `config_id`")
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(config_id="cfg_nope")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONFIG_NOT_FOUND")
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(dataset_path="dataset://ds_no")))
    assert failure.reason == "DATASET_NOT_FOUND"


async def test_a_document_that_is_too_long(stubs: Any) -> None:
    document = "# " + "x" * 70_000
    failure = await failure_of(stubs.jobs.StartJob(tiny_request(config_document=document)))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "PAYLOAD_TOO_LARGE"
    assert "has 70002 characters; it must have at most 32768" in failure.fields["config_document"]


async def test_a_clients_checkpoint_dir_is_ignored_with_a_warning(stubs: Any) -> None:
    document = json.dumps(TINY | {"checkpoint_dir": "/tmp/mine", "resume_from_checkpoint": True})
    job = (await stubs.jobs.StartJob(tiny_request(config_document=document))).job
    warnings = {warning.field: warning.message for warning in job.warnings}
    assert warnings["checkpoint_dir"].startswith("`checkpoint_dir` is '/tmp/mine' and is ignored")
    assert "resume_from_checkpoint" in warnings
    assert job.config.checkpoint_dir == "./checkpoints"
    assert job.config.resume_from_checkpoint is False


@pytest.mark.parametrize("job_id", ["", "nope", "job_*", "job:\r\nSET x", "é" * 100, "../../x"])
async def test_odd_ids_are_not_found(stubs: Any, job_id: str) -> None:
    failure = await failure_of(stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


async def test_several_jobs_come_in_one_answer(stubs: Any) -> None:
    first, second = await start(stubs), await start(stubs)

    async def asked(*job_ids: str) -> Any:
        return await stubs.jobs.BatchGetJobs(job_pb2.BatchGetJobsRequest(job_ids=job_ids))

    jobs = (await asked(second, first, second)).jobs
    assert [job.job_id for job in jobs] == [second, first]
    assert all(job.config.max_steps for job in jobs)
    missing = new_id("job")
    failure = await failure_of(asked(first, missing))
    assert (failure.reason, missing in failure.message) == ("JOB_NOT_FOUND", True)
    for job_ids, count in (([], "0 jobs"), ([f"job_{n}" for n in range(101)], "101 jobs")):
        failure = await failure_of(asked(*job_ids))
        assert ([*failure.fields], count in failure.message) == (["job_ids"], True)


async def test_lists_page_newest_first_and_filter(stubs: Any) -> None:
    ids = [(await stubs.jobs.StartJob(tiny_request())).job.job_id for _ in range(3)]
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=ids[0]))
    first = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=2))
    assert sorted(job.job_id for job in first.jobs) == sorted(ids[1:])
    assert not first.jobs[0].HasField("config")
    token = first.next_page_token
    last = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=2, page_token=token))
    assert [job.job_id for job in last.jobs] == ids[:1]
    assert last.next_page_token == ""
    stopped = job_pb2.ListJobsRequest(status=job_pb2.JOB_STATUS_STOPPED)
    assert [job.job_id for job in (await stubs.jobs.ListJobs(stopped)).jobs] == ids[:1]


async def test_jobs_are_found_by_name_and_by_the_beginning_of_an_id(stubs: Any) -> None:
    names = ["a", "b", "a"]
    ids = [(await stubs.jobs.StartJob(tiny_request(name=n))).job.job_id for n in names]

    async def ids_of(**wanted: Any) -> list[str]:
        listed = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest(**wanted))
        return [job.job_id for job in listed.jobs]

    assert await ids_of(name=" a ") == [ids[0]]
    assert await ids_of(name="a-2") == [ids[2]]
    assert await ids_of(name="A") == []
    assert await ids_of(job_id_prefix=ids[1][:-1]) == [ids[1]]
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=ids[0]))
    assert await ids_of(name="a", status=job_pb2.JOB_STATUS_STOPPED) == [ids[0]]


async def test_what_a_list_refuses(stubs: Any) -> None:
    failure = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(job_id_prefix="*")))
    assert failure.fields["job_id_prefix"] == (
        "`job_id_prefix` is '*'; it must be the beginning of an id as the service returned it; "
        "leave it out for all"
    )
    failure = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(name="x" * 221)))
    assert failure.fields["name"].endswith("it must have 0 to 220 printable characters; shorten it")
    failure = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=-1)))
    assert failure.fields["page_size"] == (
        "`page_size` is -1; it must be 0 (for 50) or more; try 50"
    )
    failure = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(page_token="x")))
    assert failure.reason == "INVALID_PAGE_TOKEN"
    failure = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(status=77)))
    assert failure.fields["status"].startswith("`status` is 77; it must be one of 1 (queued)")


async def test_stop_resume_delete(stubs: Any) -> None:
    job_id = (await stubs.jobs.StartJob(tiny_request())).job.job_id
    stop = job_pb2.StopJobRequest(job_id=job_id)
    stopped = (await stubs.jobs.StopJob(stop)).job
    assert stopped.status == job_pb2.JOB_STATUS_STOPPED
    failure = await failure_of(stubs.jobs.StopJob(stop))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "STATE_FORBIDS",
    )
    assert failure.metadata == {"state": "stopped"}
    resume = job_pb2.ResumeJobRequest(job_id=job_id, max_steps=40)
    resumed = (await stubs.jobs.ResumeJob(resume)).job
    assert (resumed.status, resumed.attempt, resumed.max_steps) == (
        job_pb2.JOB_STATUS_QUEUED,
        2,
        40,
    )
    got = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert got.config.max_steps == 40
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=job_id))
    failure = await failure_of(stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id)))
    assert failure.reason == "JOB_NOT_FOUND"


async def test_resume_refuses_bad_max_steps(stubs: Any) -> None:
    job_id = (await stubs.jobs.StartJob(tiny_request())).job.job_id
    request = job_pb2.ResumeJobRequest(job_id=job_id, max_steps=-5)
    failure = await failure_of(stubs.jobs.ResumeJob(request))
    assert "`max_steps` is -5" in failure.fields["max_steps"]


async def test_a_running_job_tells_step_progress_and_eta(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id = (await stubs.jobs.StartJob(tiny_request())).job.job_id
    claimed = attempts.claim(job_id, 1, "worker-1")
    assert claimed is not None
    attempts.confirm_start(claimed.token, 0)
    attempts.report_progress(claimed.token, 5, Phase.TRAINING)
    got = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert got.status == job_pb2.JOB_STATUS_RUNNING
    assert (got.current_step, got.progress, got.worker_id) == (5, 0.25, "worker-1")
    assert got.HasField("started_at")
    assert not got.HasField("eta_seconds")  # nothing was estimated yet
    attempts.report_progress(claimed.token, 5, Phase.TRAINING, eta_seconds=45.0)
    (listed,) = (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    got = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert (listed.eta_seconds, got.eta_seconds) == (45.0, 45.0)
    attempts.register_checkpoint(claimed.token, checkpoint_of(claimed.token, 5))
    attempts.finish(claimed.token, Outcome(OutcomeKind.SUCCEEDED))
    got = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert got.status == job_pb2.JOB_STATUS_SUCCEEDED
    assert got.HasField("completed_at")
