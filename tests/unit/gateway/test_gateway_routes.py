"""Codes and shapes of every route, over the real protocols on both sides."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from memory_control_plane import EVALUATION
from memory_state import BEGAN_TEXT, State
from openapi_shapes import assert_shape

from training_engine.v1 import job_pb2

API = "/api/training"
CONFIG = {"max_steps": 100, "model_config": {"num_layers": 2}}


def shaped(response: httpx.Response, status: int, schema: str) -> dict[str, Any]:
    """The JSON of an answer that has the status and exactly the documented fields."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert_shape(body, schema)
    return body


async def start(client: httpx.AsyncClient, **more: Any) -> str:
    body = {"config": CONFIG, "dataset_path": "/data/t.txt", **more}
    response = await client.post(f"{API}/jobs/start", json=body)
    return str(shaped(response, 201, "Job")["job_id"])


async def test_a_config_is_created_listed_read_and_deleted(
    client: httpx.AsyncClient, state: State
) -> None:
    response = await client.post(
        f"{API}/configs", json={"name": "n", "config": CONFIG}, headers={"Idempotency-Key": "k1"}
    )
    created = shaped(response, 201, "CreatedConfig")
    assert state.requests[-1].request_id == "k1"
    assert response.headers["location"] == "configs/cfg_1"
    assert created["created_at"] == BEGAN_TEXT
    assert created["config"]["max_steps"] == 100
    assert created["config"]["model_config"]["num_layers"] == 2
    assert created["config"]["mixed_precision"] is None
    assert created["warnings"] == [{"field": "warmup_steps", "message": "longer than the run"}]

    page = shaped(await client.get(f"{API}/configs"), 200, "ConfigPage")
    assert [row["config_id"] for row in page["configs"]] == ["cfg_1"]
    assert page["next_page_token"] == "more"
    one = shaped(await client.get(f"{API}/configs/cfg_1"), 200, "Config")
    assert one == {name: value for name, value in created.items() if name != "warnings"}

    gone = await client.delete(f"{API}/configs/cfg_1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await client.get(f"{API}/configs/cfg_1")).status_code == 404


async def test_the_document_reaches_the_control_plane_as_it_was_written(
    client: httpx.AsyncClient, state: State
) -> None:
    raw = (
        '{"name": "n", "config": {"learning_rate": 6e-4, "seed": 9007199254740993, '
        '"tokenizer": "é"}}'
    )
    sent = await client.post(
        f"{API}/configs", content=raw.encode(), headers={"Content-Type": "application/json"}
    )
    assert sent.status_code == 201, sent.text
    document = state.requests[-1].config_document
    assert document == '{"learning_rate": 0.0006, "seed": 9007199254740993, "tokenizer": "é"}'


async def test_a_text_passes_as_it_is(client: httpx.AsyncClient, state: State) -> None:
    text = '{"learning_rate" : 6e-4}  \n'
    for path in ("configs/validate", "jobs/start"):
        sent = await client.post(f"{API}/{path}", json={"config": text})
        assert sent.is_success, sent.text
        assert state.requests[-1].config_document == text


async def test_validation_lists_every_problem_and_stores_nothing(
    client: httpx.AsyncClient, state: State
) -> None:
    good = await client.post(f"{API}/configs/validate", json={"config": CONFIG})
    verdict = shaped(good, 200, "Validation")
    assert verdict["valid"] is True
    assert verdict["num_parameters"] == 124_439_808
    assert verdict["memory_estimate"]["total_bytes"] == 2**41
    bad = await client.post(
        f"{API}/configs/validate", json={"config": {"batchsize": 1, "learning_rate": -1}}
    )
    verdict = shaped(bad, 200, "Validation")
    assert verdict["valid"] is False
    assert [error["field"] for error in verdict["errors"]] == ["batchsize", "learning_rate"]
    assert verdict["num_parameters"] is None
    assert verdict["memory_estimate"] is None
    assert state.configs == {}


async def test_a_job_is_started_with_everything_that_was_asked(
    client: httpx.AsyncClient, state: State
) -> None:
    response = await client.post(
        f"{API}/jobs/start",
        json={
            "config": CONFIG,
            "dataset_path": "/data/t.txt",
            "name": "first",
            "request_id": "r1",
            "execution": {"priority": "high", "max_retries": 0, "stop_timeout_seconds": 5},
        },
    )
    job = shaped(response, 201, "Job")
    asked = state.requests[-1]
    assert (asked.dataset_path, asked.name, asked.request_id) == ("/data/t.txt", "first", "r1")
    assert asked.execution.priority == job_pb2.JOB_PRIORITY_HIGH
    assert asked.execution.HasField("max_retries")
    assert not asked.execution.HasField("processes")
    assert job["status"] == "queued"
    assert job["execution"] == {
        "priority": "high",
        "processes": None,
        "nodes": None,
        "device": None,
        "max_retries": 0,
        "stop_timeout_seconds": 5.0,
        "stall_timeout_seconds": None,
    }
    assert (job["worker_id"], job["error"], job["started_at"]) == (None, None, None)
    assert response.headers["location"] == "job_1"


async def test_a_job_can_be_started_from_a_stored_config(
    client: httpx.AsyncClient, state: State
) -> None:
    response = await client.post(f"{API}/jobs/start", json={"config_id": "cfg_9"})
    assert shaped(response, 201, "Job")["config_id"] == "cfg_9"
    assert state.requests[-1].WhichOneof("source") == "config_id"


async def test_status_is_exactly_the_promised_record(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await start(client, name="n")
    await state.become(
        job_id, job_pb2.JOB_STATUS_RUNNING, current_step=0, progress=0.5, worker_id="w1",
        phase=job_pb2.JOB_PHASE_VALIDATING, phase_done=0, phase_total=5,
        message="waits for the artifact store",
    )  # fmt: skip
    response = await client.get(f"{API}/jobs/{job_id}/status")
    assert shaped(response, 200, "JobStatus") == {
        "job_id": job_id,
        "name": "n",
        "status": "running",
        "current_step": 0,
        "max_steps": 100,
        "progress": 0.5,
        "attempt": 1,
        "worker_id": "w1",
        "resumed_from_step": None,
        "created_at": BEGAN_TEXT,
        "started_at": None,
        "completed_at": None,
        "error": None,
        "eta_seconds": None,
        "running_seconds": 0.0,
        "phase": "validating",
        "phase_done": 0,
        "phase_total": 5,
        "phase_per_second": None,
        "message": "waits for the artifact store",
    }
    assert shaped(await client.get(f"{API}/jobs/{job_id}"), 200, "Job")["config"]


async def test_jobs_are_listed_by_state_without_configs(
    client: httpx.AsyncClient, state: State
) -> None:
    first, second = await start(client), await start(client)
    await state.become(first, job_pb2.JOB_STATUS_FAILED)
    page = shaped(await client.get(f"{API}/jobs"), 200, "JobPage")
    assert [job["job_id"] for job in page["jobs"]] == [second, first]
    assert page["next_page_token"] is None
    failed = await client.get(f"{API}/jobs", params={"status": "failed", "page_size": 10})
    assert [job["job_id"] for job in failed.json()["jobs"]] == [first]
    assert state.requests[-1].page_size == 10
    await client.get(f"{API}/jobs", params={"name": "a name", "job_id_prefix": "job_0"})
    assert (state.requests[-1].name, state.requests[-1].job_id_prefix) == ("a name", "job_0")


async def test_several_jobs_come_with_their_configs_and_as_protobuf(
    client: httpx.AsyncClient,
) -> None:
    first, second = await start(client), await start(client)
    asked = {"params": {"job_ids": [second, first]}}
    jobs = shaped(await client.get(f"{API}/jobs/batch", **asked), 200, "JobSet")["jobs"]
    assert [job["job_id"] for job in jobs] == [second, first]
    assert jobs[0]["config"]["max_steps"] == 100
    accept = {"Accept": "application/protobuf, */*"}
    answer = await client.get(f"{API}/jobs/batch", headers=accept, **asked)
    assert answer.headers["content-type"] == "application/protobuf"
    found = job_pb2.BatchGetJobsResponse.FromString(answer.content).jobs
    assert [job.job_id for job in found] == [second, first]
    missing = await client.get(f"{API}/jobs/job_9", headers=accept)
    assert missing.headers["content-type"] == "application/problem+json"


async def test_stop_and_resume_answer_202(client: httpx.AsyncClient, state: State) -> None:
    job_id = await start(client)
    stopped = await client.post(f"{API}/jobs/{job_id}/stop", headers={"Idempotency-Key": "s"})
    assert shaped(stopped, 202, "StoppedJob") == {"job_id": job_id, "status": "stopping"}
    assert state.requests[-1].request_id == "s"
    await state.become(job_id, job_pb2.JOB_STATUS_STOPPED)
    refused = await client.post(f"{API}/jobs/{job_id}/stop")
    assert refused.status_code == 409
    assert refused.json()["reason"] == "state_forbids"
    resumed = await client.post(f"{API}/jobs/{job_id}/resume", json={"max_steps": 2**40})
    assert shaped(resumed, 202, "ResumedJob") == {
        "job_id": job_id,
        "status": "queued",
        "attempt": 2,
        "resumed_from_step": 20,
    }
    assert state.requests[-1].max_steps == 2**40
    bare = await client.post(f"{API}/jobs/{job_id}/resume")
    assert bare.status_code == 202
    assert not state.requests[-1].HasField("max_steps")
    assert not state.requests[-1].from_start
    await client.post(f"{API}/jobs/{job_id}/resume", json={"from_start": True})
    assert state.requests[-1].from_start


async def test_logs_and_deletion(client: httpx.AsyncClient) -> None:
    job_id = await start(client)
    logs = shaped(await client.get(f"{API}/jobs/{job_id}/logs"), 200, "LogPage")
    assert logs["lines"][0]["text"] == "é"
    assert (await client.delete(f"{API}/jobs/{job_id}")).status_code == 204
    assert (await client.delete(f"{API}/jobs/{job_id}")).json()["reason"] == "job_not_found"


async def test_metrics_are_numbers_and_absent_ones_null(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await start(client)
    early = await client.get(f"{API}/jobs/{job_id}/metrics")
    assert (early.status_code, early.json()["reason"]) == (404, "metrics_not_found")
    await state.log_step(job_id, 1, loss=float("nan"))
    mine = {"mine": 0.5, "a/b": float("inf")}
    await state.log_step(job_id, 2, loss=0.1, lr=6e-4, tokens_seen=2**53 + 1, custom=mine)
    latest = shaped(await client.get(f"{API}/jobs/{job_id}/metrics"), 200, "Metrics")
    assert (latest["job_id"], latest["step"], latest["loss"]) == (job_id, 2, 0.1)
    assert latest["tokens_seen"] == 2**53 + 1
    assert latest["val_loss"] is None
    assert latest["custom"] == {"mine": 0.5, "a/b": None}
    # Values of several steps stand together: no one attempt and no one moment is right.
    assert (latest["attempt"], latest["created_at"]) == (None, None)
    history = await client.get(f"{API}/jobs/{job_id}/metrics/history")
    points = shaped(history, 200, "History")["points"]
    assert [(point["step"], point["loss"]) for point in points] == [(1, None), (2, 0.1)]
    assert (points[0]["attempt"], points[0]["created_at"]) == (1, BEGAN_TEXT)
    assert [point["custom"] for point in points] == [{}, latest["custom"]]
    query = {"after_step": 1, "from_step": 0, "to_step": 2**62, "max_points": 7}
    later = await client.get(f"{API}/jobs/{job_id}/metrics/history", params=query)
    assert [point["step"] for point in later.json()["points"]] == [2]
    asked = state.requests[-1]
    assert (asked.after_step, asked.from_step, asked.to_step) == (1, 0, 2**62)
    assert asked.max_points == 7
    assert asked.HasField("from_step")
    speed = await client.get(f"{API}/jobs/{job_id}/throughput")
    assert speed.json() == {
        "job_id": job_id,
        "step": 3,
        "steps_per_second": 2.5,
        "tokens_per_second": None,
        "tokens_seen": 2**53 + 1,
    }


async def test_checkpoints_are_listed_read_and_protected(
    client: httpx.AsyncClient, state: State
) -> None:
    job_id = await start(client)
    state.add_checkpoint("ck_1", job_id, 20, b"weights")
    page = await client.get(f"{API}/jobs/{job_id}/checkpoints")
    rows = shaped(page, 200, "CheckpointPage")["checkpoints"]
    one = shaped(await client.get(f"{API}/checkpoints/ck_1"), 200, "Checkpoint")
    assert rows == [one]
    assert (one["step"], one["size_bytes"], one["is_best"]) == (20, 7, True)
    refused = await client.delete(f"{API}/checkpoints/ck_1")
    assert (refused.status_code, refused.json()["reason"]) == (409, "in_use")


async def test_generated_text_at_once(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck_1", "job_1", 20, b"weights")
    response = await client.post(
        f"{API}/checkpoints/ck_1/generate",
        json={"prompt": ">", "max_tokens": 3, "temperature": 0, "seed": 0, "stream": False},
    )
    assert shaped(response, 200, "GeneratedText") == {
        "checkpoint_id": "ck_1",
        "prompt": ">",
        "text": "ABC",
        "token_ids": [65, 66, 67],
        "finish_reason": "length",
        "prompt_tokens": 1,
        "dropped_prompt_tokens": 0,
        "prompt_logprobs": None,
        "prompt_text": None,
        "samples": [
            {
                "text": "ABC",
                "token_ids": [65, 66, 67],
                "finish_reason": "length",
                "logprobs": None,
            }
        ],
    }
    asked = state.requests[-1]
    assert asked.HasField("temperature")
    assert not asked.HasField("top_k")
    assert asked.seed == 0


async def test_a_prompt_and_its_scores(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck_1", "job_1", 20, b"weights")
    body = {"prompt": "to", "max_tokens": 1, "stream": False, "prompt_logprobs": 1}
    response = await client.post(f"{API}/checkpoints/ck_1/generate", json=body)
    answer = shaped(response, 200, "GeneratedText")
    first, second = answer["prompt_logprobs"]
    assert (first["text"], first["logprob"], first["top_logprobs"]) == ("t", None, [])
    top = {"token_id": 64, "text": "@", "logprob": -0.125}
    assert second == {"token_id": 111, "text": "o", "logprob": -0.25, "top_logprobs": [top]}
    assert answer["prompt_text"] == "to"


async def test_lists_of_a_body_are_passed_on(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck_1", "job_1", 20, b"weights")
    turn = {"role": "user", "content": "Is it far?"}
    lists = {"messages": [turn], "stop": ["a", "b"], "stop_token_ids": [3]}
    body = {"max_tokens": 2, "stream": False, "num_samples": 2, "logprobs": 1, **lists}
    response = await client.post(f"{API}/checkpoints/ck_1/generate", json=body)
    first, second = shaped(response, 200, "GeneratedText")["samples"]
    assert (first["text"], second["text"]) == ("AB", "AB")
    top = {"token_id": 65, "text": "A", "logprob": -0.5}
    assert second["logprobs"][0] == {**top, "top_logprobs": [top]}
    asked = state.requests[-1]
    assert [(each.role, each.content) for each in asked.messages] == [("user", "Is it far?")]
    assert ([*asked.stop], [*asked.stop_token_ids]) == (["a", "b"], [3])
    for body, field in (({"stop": "a"}, "stop"), ({"stop_token_ids": [2**63]}, "stop_token_ids.0")):
        refused = await client.post(f"{API}/checkpoints/ck_1/generate", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)


async def test_the_result_at_once(client: httpx.AsyncClient, state: State) -> None:
    state.add_checkpoint("ck", "job", 1, b"w")
    body = {"dataset_path": "/d/a.txt", "stride": 3, "stream": False}
    response = await client.post(f"{API}/checkpoints/ck/evaluate", json=body)
    assert shaped(response, 200, "MeasuredCheckpoint") == {
        "checkpoint_id": "ck",
        "bits_per_byte": None,
        **EVALUATION,
    }


async def test_a_request_that_breaks_a_rule(client: httpx.AsyncClient, state: State) -> None:
    for body, field in (({}, "dataset_path"), ({"dataset_path": "a", "stride": 0}, "stride")):
        refused = await client.post(f"{API}/checkpoints/ck/evaluate", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    body = {"dataset_path": "a"}
    missing = await client.post(f"{API}/checkpoints/none/evaluate", json=body)
    assert (missing.status_code, missing.json()["reason"]) == (404, "checkpoint_not_found")


async def test_datasets_are_uploaded_as_they_arrive(
    client: httpx.AsyncClient, state: State
) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB, in several messages

    async def chunks() -> Any:
        for start_at in range(0, len(data), 100_000):
            yield data[start_at : start_at + 100_000]

    response = await client.post(
        f"{API}/datasets",
        params={"name": "t.txt"},
        content=chunks(),
        headers={"Idempotency-Key": "u1"},
    )
    stored = shaped(response, 201, "Dataset")
    assert stored["size_bytes"] == len(data)
    assert state.requests[-1].request_id == "u1"
    assert stored["sha256"] == hashlib.sha256(data).hexdigest()
    page = shaped(await client.get(f"{API}/datasets"), 200, "DatasetPage")
    assert page["datasets"] == [stored]
    assert shaped(await client.get(f"{API}/datasets/ds_1"), 200, "Dataset") == stored
    assert (await client.delete(f"{API}/datasets/ds_1")).status_code == 204
    assert (await client.get(f"{API}/datasets/ds_1")).json()["reason"] == "dataset_not_found"


async def test_an_upload_that_grows_too_large_is_refused_midway(
    client: httpx.AsyncClient, state: State
) -> None:
    state.max_dataset_bytes = 1 << 20
    response = await client.post(
        f"{API}/datasets", params={"name": "t.txt"}, content=bytes(3 << 20)
    )
    assert (response.status_code, response.json()["reason"]) == (413, "payload_too_large")
    assert state.datasets == {}


@pytest.mark.parametrize("path", ["/workers"])
async def test_workers(client: httpx.AsyncClient, path: str) -> None:
    page = shaped(await client.get(API + path), 200, "WorkerPage")
    worker = page["workers"][0]
    assert (worker["state"], worker["pid"]) == ("idle", 2**40)
    assert (worker["job_id"], worker["attempt"]) == (None, None)


async def test_a_gateway_is_not_ready_while_its_control_plane_is_not(
    client: httpx.AsyncClient, state: State
) -> None:
    state.problem = "the server's memory is full (“maxmemory”)"
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["detail"] == f"the control plane is not ready: {state.problem}"
    assert (await client.get("/healthz")).status_code == 200
    state.problem = ""
    assert (await client.get("/readyz")).status_code == 200


async def test_operations(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    await client.get(f"{API}/jobs/job_x")
    text = (await client.get("/metrics")).text
    wanted = (
        'training_engine_gateway_requests_total{method="GET",'
        'route="/api/training/jobs/{job_id}",status="404"} 1.0'
    )
    assert wanted in text
