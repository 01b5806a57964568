"""An emptied Redis beside a store with jobs is said, changes nothing, and can be recovered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from failure import failure_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from started import start

from artifact_store import FolderStore, GuardedStore, JournalFiles, RecordsLostError
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from job_store.connection import Connection
from job_store.identity import ArtifactRecords
from job_store.records import NewJob
from recovery.recovery import NotEmptyError, recover
from service_runtime.duties import NOT_READY_METADATA
from training_engine.v1 import job_pb2


async def problem(stubs: Any) -> str:
    """Why the control plane is not ready; empty where it is."""
    call = health_pb2_grpc.HealthStub(stubs.channel).Check(health_pb2.HealthCheckRequest())
    await call
    metadata = await call.trailing_metadata()
    return "".join(value.decode() for key, value in metadata if key == NOT_READY_METADATA)


async def until_problem(stubs: Any, wanted: str) -> None:
    deadline = time.monotonic() + 30
    while not ((said := await problem(stubs)) == wanted or (wanted and wanted in said)):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.05)


async def test_an_emptied_redis_is_said_and_the_same_process_goes_on_after_the_recovery(
    stubs: Any, plane: ControlPlane, worker_connection: Connection
) -> None:
    root = Path(plane.state.settings.artifact_root)
    job_id = await start(stubs)
    files = JournalFiles(FolderStore(root))
    deadline = time.monotonic() + 30
    while not files.is_complete():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    worker_connection.command("FLUSHDB")
    # A job that is started before the loss was noticed hides nothing, and is recovered as well.
    late = await plane.state.jobs.create(NewJob("{}", 1, "/data/text"))
    await until_problem(stubs, f"{root} holds 2 jobs, and Redis knows them no more: Redis was lost")
    for call in (
        stubs.jobs.ListJobs(job_pb2.ListJobsRequest()),
        stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id)),
        stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=job_id)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "STORE_UNAVAILABLE"
        assert "training-engine recover --data-dir DIR" in failure.message
    assert files.ids("job") == [job_id, late.job_id]
    with pytest.raises(NotEmptyError, match="it holds 1 jobs"):
        await asyncio.to_thread(recover, worker_connection, FolderStore(root))
    worker_connection.command("FLUSHDB")
    await asyncio.to_thread(recover, worker_connection, FolderStore(root))
    await until_problem(stubs, "")
    found = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
    assert found.status == job_pb2.JOB_STATUS_QUEUED


async def test_a_restored_older_redis_is_said_and_nothing_is_served_until_the_recovery(
    stubs: Any, plane: ControlPlane, worker_connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("control_plane.state._MARK_SECONDS", 0.0)
    root = Path(plane.state.settings.artifact_root)
    files = JournalFiles(FolderStore(root))
    records = ArtifactRecords(worker_connection)

    async def marked(after: int) -> int:
        plane.state.next_mark_at = 0.0
        deadline = time.monotonic() + 30
        while (mark := files.mark()) <= after:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return mark

    old = await start(stubs)
    before = await marked(0)
    keys = worker_connection.command("KEYS", "*")
    backup = {key: worker_connection.command("DUMP", key) for key in keys}
    new = await start(stubs)
    await marked(before)
    worker_connection.command("FLUSHDB")
    for key, dump in backup.items():
        worker_connection.command("RESTORE", key, 0, dump)
    with pytest.raises(RecordsLostError, match="older state"):
        GuardedStore(FolderStore(root)).recognise(records)  # as a worker does
    await until_problem(
        stubs, f"the journal in {root} is newer than Redis, which has an older state"
    )
    failure = await failure_of(stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=old)))
    assert failure.reason == "STORE_UNAVAILABLE"
    worker_connection.command("FLUSHDB")
    await asyncio.to_thread(recover, worker_connection, FolderStore(root))
    await until_problem(stubs, "")
    for job_id in (old, new):
        found = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
        assert found.status == job_pb2.JOB_STATUS_QUEUED


async def test_a_store_is_used_with_a_new_redis_where_a_person_says_so(
    stubs: Any, plane: ControlPlane, plane_settings: ControlPlaneSettings,
    worker_connection: Connection,
) -> None:  # fmt: skip
    await start(stubs)
    await plane.stop(0)
    worker_connection.command("FLUSHDB")
    for said in (False, True):
        settings = plane_settings.model_copy(update={"start_without_recovery": said})
        state = ServiceState(settings)
        await state.look_for_artifacts()
        assert (state.records_lost == "") is said
        assert bool(state.artifacts.expected) is said
        await state.close()
    state = ServiceState(plane_settings)  # once is enough
    await state.check_records()
    await state.close()


async def test_records_of_a_release_without_a_journal_get_entries(
    stubs: Any, plane: ControlPlane, plane_settings: ControlPlaneSettings
) -> None:
    job_id = await start(stubs)
    await plane.stop(0)
    root = Path(plane_settings.artifact_root)
    FolderStore(root).delete_prefix("journal")
    again = ControlPlane(ServiceState(plane_settings), [])
    await again.start()
    files = JournalFiles(FolderStore(root))
    deadline = time.monotonic() + 30
    while not files.is_complete():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await again.stop(0)
    assert files.ids("job") == [job_id]
