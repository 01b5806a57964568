"""A job over several workers is sent once so many of them have nothing to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from started import start

from control_plane.gangs import GATHERING_SECONDS, GangGate
from job_store.connection import Connection
from job_store.records import Priority, QueuedAttempt, WorkerRecord, WorkerState
from job_store.workers import WorkerRegistry
from training_engine.v1 import job_pb2

QUEUE = "rq:queue:training:default"


def worker(name: str, device: str = "cpu", state: WorkerState = WorkerState.IDLE) -> WorkerRecord:
    return WorkerRecord(name, state, device, "host", 1, 0, 0, "", 0)


def job(name: str, nodes: int = 2, device: str = "auto") -> QueuedAttempt:
    return QueuedAttempt(name, 1, Priority.DEFAULT, device, is_sent=False, nodes=nodes)


def test_only_workers_that_fit_and_have_no_job_count() -> None:
    gate = GangGate()
    busy = worker("c", state=WorkerState.BUSY)
    assert gate.why_not(job("a"), [worker("a"), worker("b")]) is None
    told = "waits for 2 workers at the same time; 2 that fit it are live, and 1 of them have no job"
    assert str(gate.why_not(job("a"), [worker("a"), busy])).startswith(told)
    assert gate.why_not(job("a", 3, "cuda"), [worker("a"), worker("b", "cuda:0")]) == (
        "waits for 3 workers at the same time; 1 that fit it are live, and 1 of them have no job; "
        "start 2 more that train on cuda, or stop it and start one with fewer nodes"
    )


def test_a_job_with_launched_workers_waits_for_its_own() -> None:
    gate = GangGate(launched=True)
    own = [replace(worker(name), only_job="a") for name in "ab"]
    others = [worker("c"), replace(worker("d"), only_job="b")]
    told = (
        "waits for 2 workers that a launcher starts for it; 1 that fit it are live, and 1 of them "
        "have no job"
    )
    assert gate.why_not(job("a"), [own[0], *others]) == told
    assert gate.why_not(job("a"), [*own, *others]) is None
    more = replace(worker("e"), only_job="b")
    assert gate.why_not(job("b"), [*own, *others, more]) is None  # none has to wait for the others
    common = GangGate()
    assert common.why_not(job("a"), [*own, *others]) == (
        "waits for 2 workers at the same time; 1 that fit it are live, and 1 of them have no job; "
        "2 that a launcher started for it are not used, since the control plane runs without "
        "--launched-nodes"
    )


def test_one_job_after_the_other_gathers_its_workers() -> None:
    now = [0.0]
    gate = GangGate(clock=lambda: now[0])
    four = [worker(name) for name in "abcd"]
    assert gate.why_not(job("a"), four) is None
    assert gate.why_not(job("b"), four) == (
        "waits for the workers of another job over several to come together"
    )
    assert gate.why_not(job("a"), four) is None  # its next attempt
    now[0] += GATHERING_SECONDS
    assert gate.why_not(job("b"), four) is None


async def test_its_status_says_what_it_waits_for(stubs: Any, worker_connection: Connection) -> None:
    registry = WorkerRegistry(worker_connection)
    job_id = await start(stubs, job_pb2.Execution(nodes=2))

    async def waits_for(text: str) -> None:
        deadline = time.monotonic() + 20
        while (
            text not in (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job.message
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    await waits_for("waits for 2 workers at the same time; 0 that fit it are live")
    registry.heartbeat(worker("worker-a"))
    await waits_for("1 that fit it are live, and 1 of them have no job")
    other = f"{await start(stubs)}-1".encode()
    assert worker_connection.client.lrange(QUEUE, 0, -1) == [other]  # it trains meanwhile
    registry.heartbeat(worker("worker-b"))
    deadline = time.monotonic() + 20
    while worker_connection.client.lrange(QUEUE, 0, -1) != [other, f"{job_id}-1".encode()]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
