"""What the reconciler does at once, between two of its rounds; here these are a minute apart."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from started import running_job

from control_plane.settings import ControlPlaneSettings
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.ids import new_id
from job_store.records import FencingToken, JobError, Outcome, OutcomeKind
from training_engine.v1 import job_pb2

QUEUE = "rq:queue:training:default"


@pytest.fixture
def plane_settings(plane_settings: ControlPlaneSettings) -> ControlPlaneSettings:
    plane_settings.lease_seconds = 60
    plane_settings.reconcile_interval_seconds = 60
    plane_settings.leader_ttl_seconds = 120
    return plane_settings


async def message_of(connection: Connection, job_id: str, attempt: int) -> None:
    """Returns once the attempt's message is in the queue."""
    deadline = time.monotonic() + 10
    while f"{job_id}-{attempt}".encode() not in connection.client.lrange(QUEUE, 0, -1):
        assert time.monotonic() < deadline, "the message was not sent in time"
        await asyncio.sleep(0.02)


async def job_of(stubs: Any, job_id: str) -> job_pb2.Job:
    return (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job


async def test_a_worker_whose_process_ended_is_replaced_at_once(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    job_id, token = await running_job(stubs, attempts)
    stale = [
        FencingToken(job_id, 1, "0123456789abcdef"),  # an earlier claim
        FencingToken(job_id, 2, token.claim_id),
        FencingToken(new_id("job"), 1, token.claim_id),
    ]
    for other in stale:
        attempts.report_ended_worker(other)
    other_id, other_token = await running_job(stubs, attempts)
    attempts.report_ended_worker(other_token)
    await message_of(worker_connection, other_id, 2)
    assert (await job_of(stubs, job_id)).attempt == 1
    attempts.report_ended_worker(token)
    await message_of(worker_connection, job_id, 2)
    job = await job_of(stubs, job_id)
    assert (job.status, job.attempt) == (job_pb2.JOB_STATUS_QUEUED, 2)
    assert job.message == (
        "attempt 1 ended early and is tried again: the process of worker worker-1 was killed or "
        "crashed"
    )
    attempts.report_ended_worker(token)  # told twice
    attempts.claim(job_id, 2, "worker-2")
    assert (await job_of(stubs, job_id)).attempt == 2


async def test_retries_are_counted_and_a_requested_stop_is_kept(
    stubs: Any, attempts: AttemptStore
) -> None:
    last, last_token = await running_job(stubs, attempts, job_pb2.Execution(max_retries=0))
    stopping, stopping_token = await running_job(stubs, attempts)
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=stopping))
    attempts.report_ended_worker(last_token)
    attempts.report_ended_worker(stopping_token)
    deadline = time.monotonic() + 10
    while (await job_of(stubs, stopping)).status != job_pb2.JOB_STATUS_STOPPED:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    failed = await job_of(stubs, last)
    assert failed.status == job_pb2.JOB_STATUS_FAILED
    assert failed.error_reason == "WORKER_LOST"


async def test_an_attempt_that_its_worker_ends_is_queued_again_at_once(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    crashed, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.CRASHED, JobError("TRAINER_DIED", "killed")))
    await message_of(worker_connection, crashed, 2)
    handed_back, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    await message_of(worker_connection, handed_back, 2)
    assert worker_connection.client.lrange(QUEUE, 0, -1).count(f"{crashed}-2".encode()) == 1


async def test_a_pause_before_a_retry_is_kept(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    paused, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.CRASHED, JobError("DISK_FULL", "no space")))
    later, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    await message_of(worker_connection, later, 2)
    assert f"{paused}-2".encode() not in worker_connection.client.lrange(QUEUE, 0, -1)
