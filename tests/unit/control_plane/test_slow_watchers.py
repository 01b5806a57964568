"""Watchers that do not read: they are let go with a reason, and lose nothing by it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from failure import read_failure
from started import running_job

from control_plane.settings import ControlPlaneSettings
from control_plane.telemetry import CALLS
from job_store.attempts import AttemptStore
from job_store.history_records import LogLine
from job_store.records import Outcome, OutcomeKind
from training_engine.v1 import job_pb2

LINES = 1500
LONG = "x" * 8000


@pytest.fixture
def plane_settings(plane_settings: ControlPlaneSettings) -> ControlPlaneSettings:
    plane_settings.watcher_patience_seconds = 0.3
    return plane_settings


async def read_into(seen: list[Any], call: Any) -> grpc.aio.AioRpcError | None:
    """Read to the stream's end; what it ended with."""
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            seen.append(message)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def a_job_with_much_to_tell(stubs: Any, attempts: AttemptStore) -> str:
    job_id, token = await running_job(stubs, attempts)
    for first in range(0, LINES, 100):
        lines = [LogLine(seq, LONG, 1) for seq in range(first, first + 100)]
        attempts.append_logs(token, lines)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    return job_id


async def until_let_go() -> None:
    """Wait for one more watch to be ended for its slowness."""
    count = CALLS.labels("WatchJob", "WATCHER_TOO_SLOW")._value
    before = count.get()
    async with asyncio.timeout(60):
        while count.get() == before:
            await asyncio.sleep(0.02)


async def test_a_watcher_that_reads_nothing_is_let_go_and_continues_from_its_cursor(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id = await a_job_with_much_to_tell(stubs, attempts)
    call = stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job_id))
    seen = [await call.read()]
    await until_let_go()
    error = await read_into(seen, call)
    assert error is not None
    failure = read_failure(error)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "WATCHER_TOO_SLOW")
    assert "unread for 0.3 s" in failure.message
    assert len(seen) < LINES
    while error is not None:  # a slow machine may take its time here, too
        request = job_pb2.WatchJobRequest(job_id=job_id, after=seen[-1].cursor)
        error = await read_into(seen, stubs.jobs.WatchJob(request))
    assert [m.log.sequence for m in seen if m.HasField("log")] == list(range(LINES))


async def test_a_watcher_that_leaves_without_having_read_is_no_defect(
    stubs: Any, attempts: AttemptStore, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await a_job_with_much_to_tell(stubs, attempts)
    call = stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job_id))
    await call.read()
    await until_let_go()
    call.cancel()
    await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))
    await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
