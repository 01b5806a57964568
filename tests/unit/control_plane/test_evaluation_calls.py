"""EvaluateCheckpoint over a real channel, with this test as the worker that measures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from failure import failure_of
from started import running_job

from control_plane.settings import ControlPlaneSettings
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.evaluation import EvaluationInbox, EvaluationReply, EvaluationRequest
from job_store.ids import new_id
from job_store.records import CheckpointRecord
from training_engine.v1 import checkpoint_pb2

RESULT = {
    "loss": 2.0,
    "perplexity": 7.389,
    "bits_per_byte": None,
    "tokens": 9,
    "context": 8,
    "stride": 4,
}


@pytest.fixture(autouse=True)
def patience(plane_settings: ControlPlaneSettings) -> None:
    """Waits are bounded by what the tests do, not by the load of the machine."""
    plane_settings.generate_timeout_seconds = 120.0


async def request_of(
    stubs: Any, attempts: AttemptStore, data_root: Path, **fields: Any
) -> checkpoint_pb2.EvaluateCheckpointRequest:
    job_id, token = await running_job(stubs, attempts)
    record = CheckpointRecord(
        new_id("checkpoint"), job_id, 1, 2, 2.5, 3, "ab" * 32, f"jobs/{job_id}/2.pt", 0
    )
    attempts.register_checkpoint(token, record)
    return checkpoint_pb2.EvaluateCheckpointRequest(
        checkpoint_id=record.checkpoint_id,
        dataset_path=str(data_root / "corpus.txt"),
        **fields,
    )


async def taken_by(inbox: EvaluationInbox) -> EvaluationRequest:
    while (taken := await asyncio.to_thread(inbox.take, 1)) is None:
        pass  # the test's own time limit ends this
    return taken


async def test_progress_and_the_result_pass_through(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection, data_root: Path
) -> None:
    request = await request_of(
        stubs, attempts, data_root, stride=4, averaged=True, separate_documents=True
    )
    call = stubs.checkpoints.EvaluateCheckpoint(request)
    inbox = EvaluationInbox(worker_connection)
    taken = await taken_by(inbox)
    assert (taken.dataset_path, taken.stride, taken.averaged) == (request.dataset_path, 4, True)
    assert taken.separate_documents
    assert taken.data_roots == [str(data_root)]
    assert inbox.send(taken, [EvaluationReply(4, 9)])
    inbox.send(taken, [EvaluationReply(9, 9, RESULT)])
    first, last = [response async for response in call]
    assert (first.tokens_done, first.tokens_total, first.HasField("evaluation")) == (4, 9, False)
    assert (last.evaluation.loss, last.evaluation.HasField("bits_per_byte")) == (2.0, False)
    assert not inbox.send(taken, [EvaluationReply(9, 9)]), "the reader has gone"


async def test_a_worker_that_dies_is_replaced_by_another(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection, data_root: Path
) -> None:
    call = stubs.checkpoints.EvaluateCheckpoint(await request_of(stubs, attempts, data_root))
    inbox = EvaluationInbox(worker_connection)
    dead = await taken_by(inbox)
    inbox.send(dead, [EvaluationReply(0, 0)])
    key = f"{worker_connection.prefix}evaluation:{dead.request_id}:taken"
    assert 0 < worker_connection.transaction(("PTTL", key))[0] <= 10_000
    worker_connection.transaction(("DEL", key))  # as after ten seconds of silence
    other = await taken_by(inbox)
    assert other == dead
    inbox.send(other, [EvaluationReply(9, 9, RESULT)])
    assert [response async for response in call][-1].evaluation.tokens == 9


async def test_a_request_waits_while_workers_are_busy_up_to_the_deadline(
    stubs: Any,
    attempts: AttemptStore,
    worker_connection: Connection,
    data_root: Path,
    plane_settings: ControlPlaneSettings,
) -> None:
    plane_settings.generate_timeout_seconds = 0.2
    request = await request_of(stubs, attempts, data_root)
    failure = await failure_of(stubs.checkpoints.EvaluateCheckpoint(request).read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE")
    assert failure.message.startswith("no worker sent a sign of it within 0.2 s")
    plane_settings.evaluate_timeout_seconds = 1.5
    served = f"{worker_connection.prefix}evaluation:served"
    worker_connection.command("SET", served, "1")  # as by a worker that is busy
    failure = await failure_of(stubs.checkpoints.EvaluateCheckpoint(request).read())
    assert failure.message.startswith("the evaluation took more than 1.5 s; measure less data")


async def test_a_workers_refusal_names_the_field(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection, data_root: Path
) -> None:
    call = stubs.checkpoints.EvaluateCheckpoint(await request_of(stubs, attempts, data_root))
    inbox = EvaluationInbox(worker_connection)
    taken = await taken_by(inbox)
    inbox.fail(taken, "INVALID_DATA", "the data hold the token 300", "dataset_path")
    failure = await failure_of(call.read())
    assert (failure.reason, list(failure.fields)) == ("INVALID_DATA", ["dataset_path"])


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({"stride": 0}, "INVALID_ARGUMENT", "`stride` is 0; it must be at least 1"),
        ({"dataset_path": ""}, "INVALID_ARGUMENT", "`dataset_path` is missing; name the data"),
        ({"dataset_path": "/etc/passwd"}, "PATH_NOT_ALLOWED", "not under an allowed folder"),
        ({"dataset_path": "none.txt"}, "PATH_NOT_FOUND", "which does not exist"),
        ({"dataset_path": "dataset://ds_x"}, "DATASET_NOT_FOUND", "there is no dataset 'ds_x'"),
        ({"checkpoint_id": "ckpt_x"}, "CHECKPOINT_NOT_FOUND", "there is no checkpoint 'ckpt_x'"),
    ],
)
async def test_what_is_refused_at_once(
    stubs: Any,
    attempts: AttemptStore,
    data_root: Path,
    fields: dict[str, Any],
    reason: str,
    text: str,
) -> None:
    request = await request_of(stubs, attempts, data_root)
    for name, value in fields.items():
        setattr(request, name, value)
    failure = await failure_of(stubs.checkpoints.EvaluateCheckpoint(request).read())
    assert failure.reason == reason
    assert text in failure.message
