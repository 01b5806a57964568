"""The reconciler: leases it has watched itself, deadlines, lost messages, one leader."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis_server import RedisServer
from started import running_job, start

from control_plane.leases import AttemptWatch, FirstSeen
from control_plane.reconciler import Reconciler, overdue
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.errors import FencedError, StoreUnavailableError
from job_store.history_records import MetricPoint
from job_store.reconcile import RunningAttempt
from job_store.records import JobError, JobStatus, Outcome, OutcomeKind, Phase
from service_runtime.duties import Duties
from training_engine.v1 import job_pb2


def attempt_of(count: int = 1, **fields: Any) -> RunningAttempt:
    defaults = RunningAttempt(
        "job_a", 1, "claim", "w", JobStatus.RUNNING, count, Phase.TRAINING, 7, "", 300.0, 600.0
    )
    return dataclasses.replace(defaults, **fields)


def test_a_lease_is_lost_after_it_stood_still_for_its_whole_length() -> None:
    watch = AttemptWatch(15.0)
    lost = [watch.observe([attempt_of(1)], now) for now in (100.0, 107.0, 114.0, 114.9)]
    assert lost == [[], [], [], []]
    assert watch.observe([attempt_of(1)], 115.0) == [attempt_of(1)]


def test_a_renewal_or_another_claim_starts_the_clock_anew() -> None:
    watch = AttemptWatch(15.0)
    for now, count in ((100.0, 1), (107.0, 2), (114.0, 2), (121.0, 2)):
        assert watch.observe([attempt_of(count)], now) == []
    assert watch.observe([attempt_of(2, claim_id="other")], 122.5) == []
    assert watch.watched_seconds(attempt_of(2, claim_id="other"), 123.5) == 1.0


def test_an_outage_or_a_suspension_of_the_watcher_proves_nothing() -> None:
    watch = AttemptWatch(15.0)
    watch.observe([attempt_of(1)], 100.0)
    watch.forget()
    assert watch.observe([attempt_of(1)], 114.0) == []
    # 60 s without a look: this process did not run, and perhaps no process of the machine did.
    assert watch.observe([attempt_of(1)], 174.0) == []
    assert watch.observe([attempt_of(1)], 181.0) == []
    assert watch.observe([attempt_of(1)], 188.0) == []
    assert watch.observe([attempt_of(1)], 189.0) == [attempt_of(1)]


def reason_after(attempt: RunningAttempt, seconds: float, grace: float = 10.0) -> str | None:
    """Why the attempt is overdue once it was watched for so long, unchanged."""
    watch = AttemptWatch(1e6)
    watch.observe([attempt], 100.0)
    watch.observe([attempt], 100.0 + seconds)
    error = overdue(attempt, watch, 100.0 + seconds, grace)
    return error.message if error else None


def test_a_stop_that_a_living_worker_does_not_carry_out() -> None:
    stopping = attempt_of(status=JobStatus.STOPPING, stop_timeout_seconds=5.0)
    assert reason_after(stopping, 15.0) is None
    assert reason_after(stopping, 15.1) == "worker w did not carry out the stop in time"
    assert reason_after(attempt_of(stop_timeout_seconds=5.0), 15.1) is None


def test_a_stall_that_a_living_worker_does_not_notice() -> None:
    silent = attempt_of(stall_timeout_seconds=2.0)
    assert reason_after(silent, 12.0) is None
    assert reason_after(silent, 12.1) == "no step for 2 s after step 7"
    assert reason_after(dataclasses.replace(silent, phase=Phase.SAVING), 12.1) is None
    validating = dataclasses.replace(silent, phase=Phase.VALIDATING)
    assert reason_after(validating, 12.1) == "no batch of the validation at step 7 for 2 s"


def test_a_sign_of_life_or_a_gap_in_the_watching_is_no_stall() -> None:
    watch, slow = AttemptWatch(15.0), attempt_of(stall_timeout_seconds=20.0)
    for now in range(100, 150, 5):
        watch.observe([dataclasses.replace(slow, sign_of_life=str(now // 15))], now)
        assert overdue(slow, watch, now, 0.0) is None
    watch.observe([slow], 190.0)  # 45 s without a look: the machine slept
    assert overdue(slow, watch, 190.0, 0.0) is None
    for now in (195.0, 200.0, 205.0, 210.0):
        watch.observe([slow], now)
        assert overdue(slow, watch, now, 0.0) is None
    watch.observe([slow], 210.1)
    assert overdue(slow, watch, 210.1, 0.0) is not None


def test_a_wait_lasts_as_long_as_it_is_seen() -> None:
    waits = FirstSeen[str]()
    waits.observe(["a"], 10.0)
    waits.observe(["a", "b"], 14.0)
    assert (waits.seconds("a", 15.0), waits.seconds("b", 15.0)) == (5.0, 1.0)
    waits.observe(["b"], 16.0)
    waits.observe(["a"], 17.0)
    assert (waits.seconds("a", 18.0), waits.seconds("b", 18.0)) == (1.0, 0.0)


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def plane_settings(plane_settings: ControlPlaneSettings) -> ControlPlaneSettings:
    plane_settings.lease_seconds = 0.6
    return plane_settings


async def job_of(stubs: Any, job_id: str) -> job_pb2.Job:
    return (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job


async def test_a_lost_worker_is_replaced_by_a_new_attempt(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    job_id, token = await running_job(stubs, attempts)
    began = time.monotonic()

    async def requeued() -> bool:
        return (await job_of(stubs, job_id)).attempt == 2

    await eventually(requeued)
    assert time.monotonic() - began >= 0.6
    job = await job_of(stubs, job_id)
    assert job.status == job_pb2.JOB_STATUS_QUEUED
    assert job.message == (
        "attempt 1 ended early and is tried again: worker worker-1 renewed no lease for 0.6 s"
    )
    with pytest.raises(FencedError):
        attempts.publish_metrics(token, [MetricPoint(1, {"loss": 1.0}, 1)])

    async def message_sent() -> bool:
        queue = worker_connection.client.lrange("rq:queue:training:default", 0, -1)
        return f"{job_id}-2".encode() in queue

    await eventually(message_sent)


async def test_retries_end_in_failed_with_the_last_error(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, _ = await running_job(stubs, attempts, job_pb2.Execution(max_retries=0))

    async def failed() -> bool:
        return (await job_of(stubs, job_id)).status == job_pb2.JOB_STATUS_FAILED

    await eventually(failed)
    job = await job_of(stubs, job_id)
    assert job.error_reason == "WORKER_LOST"
    assert job.error == "worker worker-1 renewed no lease for 0.6 s"


async def test_a_renewed_lease_is_left_alone_and_its_stall_and_end_are_alerts(
    stubs: Any, attempts: AttemptStore
) -> None:
    rules = [{"when": "stalled", "seconds": 1}, "finished"]
    job_id, token = await running_job(stubs, attempts, alerts=rules)

    async def fired() -> bool:
        attempts.renew_lease(token)
        answer = await stubs.jobs.ListAlerts(job_pb2.ListAlertsRequest(job_id=job_id))
        return [one.text for one in answer.alerts] == ["no sign of life for 1 s at step 0"]

    await eventually(fired)
    assert (await job_of(stubs, job_id)).attempt == 1  # after more than the lease of 0.6 s
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    watched = stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job_id))
    seen = [event.alert async for event in watched if event.HasField("alert")]
    assert [(one.rule, one.attempt) for one in seen] == [(0, 1), (1, 1)]
    assert seen[1].text == "the job has finished at step 0"
    answer = await stubs.jobs.ListAlerts(job_pb2.ListAlertsRequest(job_id=job_id))
    assert [*answer.alerts] == seen


async def test_a_stop_that_its_worker_ignores_is_carried_out(
    stubs: Any, attempts: AttemptStore
) -> None:
    execution = job_pb2.Execution(stop_timeout_seconds=0.2)
    job_id, token = await running_job(stubs, attempts, execution)
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))

    async def stopped() -> bool:
        with contextlib.suppress(FencedError):
            attempts.renew_lease(token)
        return (await job_of(stubs, job_id)).status == job_pb2.JOB_STATUS_STOPPED

    await eventually(stopped)


async def test_a_step_of_the_servers_clock_ends_no_attempt(
    stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    """Seen from a clock that was set forward, all of this was noted hours ago."""
    running, token = await running_job(stubs, attempts)
    stopping, stopped_token = await running_job(stubs, attempts)
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=stopping))
    for _ in range(10):
        worker_connection.command("HSET", f"te:job:{running}", "progress_at", "1000")
        for field in ("progress_at", "stop_deadline", "stop_requested_at"):
            worker_connection.command("HSET", f"te:job:{stopping}", field, "1000")
        attempts.renew_lease(token)
        attempts.renew_lease(stopped_token)
        await asyncio.sleep(0.1)
    assert (await job_of(stubs, running)).attempt == 1
    assert (await job_of(stubs, stopping)).status == job_pb2.JOB_STATUS_STOPPING


async def test_a_pause_is_as_long_as_it_is_watched(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore, worker_connection: Connection
) -> None:
    plane.state.settings.retry_pause_seconds = 0.8
    job_id, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.CRASHED, JobError("DISK_FULL", "no space")))
    began = time.monotonic()
    worker_connection.command("ZADD", "te:jobs:delayed", 1000, job_id)  # hours ago, it seems

    async def sent() -> bool:
        queue = worker_connection.client.lrange("rq:queue:training:default", 0, -1)
        return f"{job_id}-2".encode() in queue

    await eventually(sent)
    assert time.monotonic() - began >= 0.8


async def test_a_lost_message_is_sent_again_whatever_the_servers_clock_says(
    stubs: Any, worker_connection: Connection
) -> None:
    job_id = await start(stubs)
    queue = "rq:queue:training:default"
    worker_connection.command("HSET", f"te:job:{job_id}", "enqueued_at", "9999999999999")
    assert worker_connection.client.lpop(queue) == f"{job_id}-1".encode()

    async def sent_again() -> bool:
        return worker_connection.client.lrange(queue, 0, -1) == [f"{job_id}-1".encode()]

    await eventually(sent_again)


async def test_a_lock_that_outlives_its_owner_is_taken_over(
    plane_settings: ControlPlaneSettings, worker_connection: Connection
) -> None:
    """As one does whose clock was set back: the server lets it run out hours later."""
    plane_settings.leader_ttl_seconds = 0.3
    worker_connection.command("SET", "te:leader", "dead:7")
    state = ServiceState(plane_settings)
    reconciler = Reconciler(state, "a")
    began = time.monotonic()

    async def leads() -> bool:
        await reconciler.look()
        return reconciler._leading

    assert not await leads()
    await eventually(leads)
    assert time.monotonic() - began >= 0.3
    await state.close()


async def test_a_lost_message_is_sent_again(stubs: Any, worker_connection: Connection) -> None:
    job_id = await start(stubs)
    queue = "rq:queue:training:default"
    assert worker_connection.client.lpop(queue) == f"{job_id}-1".encode()

    async def sent_again() -> bool:
        return worker_connection.client.lrange(queue, 0, -1) == [f"{job_id}-1".encode()]

    await eventually(sent_again)


async def test_the_record_of_a_message_expires(stubs: Any, worker_connection: Connection) -> None:
    """A worker that is killed behind the pop deletes nothing."""
    job_id = await start(stubs)
    queue = "rq:queue:training:default"
    assert worker_connection.client.lpop(queue) == f"{job_id}-1".encode()
    for key in worker_connection.client.keys(f"rq:*{job_id}*"):
        assert 6 * 86_400 < worker_connection.client.ttl(key) <= 7 * 86_400


async def test_a_message_that_nobody_sent_is_sent(
    plane: ControlPlane, stubs: Any, worker_connection: Connection
) -> None:
    job_id = await start(stubs)
    worker_connection.client.delete("rq:queue:training:default")
    assert await plane.state.jobs.request_message(job_id, 1)

    async def sent() -> bool:
        return worker_connection.client.llen("rq:queue:training:default") == 1

    await eventually(sent)


async def test_one_of_two_leads_and_the_other_follows(plane_settings: ControlPlaneSettings) -> None:
    states = [ServiceState(plane_settings) for _ in range(2)]
    first, second = (Reconciler(state, name) for state, name in zip(states, "ab", strict=True))
    await first.look()
    await second.look()
    assert (first._leading, second._leading) == (True, False)
    stopping = asyncio.Event()
    stopping.set()
    await first.run(Duties(), stopping)  # resigns at once
    await second.look()
    assert second._leading
    for state in states:
        await state.close()


async def test_an_outage_of_redis_declares_nobody_dead(
    tmp_path: Path, plane_settings: ControlPlaneSettings, quiet_port: int
) -> None:
    server = RedisServer(tmp_path / "redis", quiet_port).start()
    plane_settings.redis_url = SecretStr(server.url())
    state = ServiceState(plane_settings)
    reconciler = Reconciler(state, "a")
    await reconciler.look()
    assert reconciler._leading
    server.kill()
    with pytest.raises(StoreUnavailableError):
        await reconciler.look()
    assert not reconciler._leading
    server.start()

    async def leads_again() -> bool:
        with contextlib.suppress(StoreUnavailableError):
            await reconciler.look()
        return reconciler._leading

    await eventually(leads_again)
    await state.close()
    server.stop()
