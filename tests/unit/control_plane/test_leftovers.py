"""The sweeper deletes files that no record refers to, whichever process died before it could."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from failure import failure_of
from started import running_job

from artifact_store import ArtifactStoreAwayError, attempt_prefix
from control_plane import leftovers
from control_plane.leftovers import Sweeper
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from job_store.attempts import AttemptStore, Unregistered
from job_store.errors import NotJournaledError
from job_store.ids import new_id
from job_store.records import CheckpointRecord, FencingToken, JobError, Outcome, OutcomeKind
from training_engine.v1 import checkpoint_pb2, job_pb2


@pytest.fixture
def plane_settings(plane_settings: ControlPlaneSettings) -> ControlPlaneSettings:
    plane_settings.sweep_after_seconds = 0.2
    return plane_settings


def save(plane: ControlPlane, token: FencingToken, step: int, folder: str = "") -> CheckpointRecord:
    """What a trainer writes for a checkpoint, in the store or a folder of it; not registered."""
    key = f"{attempt_prefix(token.job_id, token.attempt, token.claim_id)}/checkpoint_step_{step}.pt"
    for name in (key, key.removesuffix(".pt") + ".json", f"{Path(key).parent}/output.log"):
        path = Path(plane.state.settings.artifact_root) / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    return CheckpointRecord(
        new_id("checkpoint"), token.job_id, token.attempt, step, 1.0, 7, "0" * 64, key, 0
    )


def files(plane: ControlPlane, folder: str = "jobs") -> list[str]:
    """Names of all files of all jobs, hidden ones too."""
    root = Path(plane.state.settings.artifact_root) / folder
    return sorted(path.name for path in root.rglob("*") if path.is_file())


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if await value if isinstance(value, Awaitable) else value:
            return
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


async def nothing_to_sweep(plane: ControlPlane) -> bool:
    keys = plane.state.reconcile._keys
    counts = await plane.state.connection.pipeline(
        ("ZCARD", keys.index("sweep")), ("SCARD", keys.index("sweeping"))
    )
    return counts == [0, 0]


async def test_files_of_a_job_go_though_its_deletion_died_after_the_record(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.register_checkpoint(token, save(plane, token, 5))
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    await plane.state.jobs.delete(job_id)  # and no more: the process is gone
    assert len(files(plane)) == 3
    await until(lambda: files(plane) == [])
    await until(lambda: nothing_to_sweep(plane))


async def test_what_a_zombie_writes_for_a_deleted_job_goes_too(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=job_id))
    save(plane, token, 5, "staged")
    assert len(files(plane, "staged")) == 3
    root = Path(plane.state.settings.artifact_root)
    (root / "jobs/kept").mkdir(parents=True)  # the folder of all jobs stays
    # At once: the sweeper, in threads, would remove folders from under the writer.
    (root / "staged/jobs" / job_id).rename(root / "jobs" / job_id)
    await until(lambda: files(plane) == [])


async def test_retired_checkpoints_of_a_job_at_rest_lose_their_files(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    _, token = await running_job(stubs, attempts)
    old, new = save(plane, token, 5), save(plane, token, 10)
    for record in (old, new):
        attempts.register_checkpoint(token, record)
    # A rotation that dies between the registry and the files.
    assert attempts.unregister_checkpoint(token, old.checkpoint_id)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    kept = ["checkpoint_step_10.json", "checkpoint_step_10.pt", "output.log"]
    await until(lambda: files(plane) == kept)
    await until(lambda: nothing_to_sweep(plane))
    assert attempts.retired_checkpoints(token.job_id) == []
    assert [record.step for record in attempts.checkpoints(token.job_id)] == [10]


async def test_a_deleted_checkpoint_leaves_no_file_and_no_record(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    _, token = await running_job(stubs, attempts)
    record = save(plane, token, 5)
    attempts.register_checkpoint(token, record)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    await stubs.checkpoints.DeleteCheckpoint(
        checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id=record.checkpoint_id)
    )
    assert files(plane) == ["output.log"]
    assert attempts.retired_checkpoints(token.job_id) == []


async def test_what_an_attempt_saved_and_never_registered_goes_once_it_is_over(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, first = await running_job(stubs, attempts)
    attempts.register_checkpoint(first, save(plane, first, 5))
    save(plane, first, 10)
    root = Path(plane.state.settings.artifact_root)
    folder = root / attempt_prefix(job_id, 1, first.claim_id)
    (folder / ".checkpoint_step_15.pt.tmp").write_bytes(b"half")
    attempts.finish(first, Outcome(OutcomeKind.CRASHED, JobError("TRAINER_DIED", "killed")))
    claimed = attempts.claim(job_id, 2, "worker-2")
    assert claimed is not None
    save(plane, claimed.token, 8)  # about to be registered
    (root / attempt_prefix(job_id, 2, claimed.token.claim_id) / ".x.tmp").write_bytes(b"")
    await until(lambda: nothing_to_sweep(plane))
    assert files(plane) == [
        ".x.tmp",
        *("checkpoint_step_5.json", "checkpoint_step_5.pt"),
        *("checkpoint_step_8.json", "checkpoint_step_8.pt"),
        *("output.log", "output.log"),
    ]


async def test_what_was_not_registered_stays_until_the_next_attempt_could_look(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, first = await running_job(stubs, attempts)
    attempts.register_checkpoint(first, save(plane, first, 5))
    found = save(plane, first, 10)
    attempts.finish(first, Outcome(OutcomeKind.CRASHED, JobError("TRAINER_DIED", "killed")))
    await until(lambda: nothing_to_sweep(plane))
    assert "checkpoint_step_10.pt" in files(plane)
    late = Unregistered(replace(found, step=5), first.claim_id)
    of_another = Unregistered(found, "x" * 32)
    save(plane, first, 8)
    claimed = attempts.claim(
        job_id, 2, "worker-2", unregistered=Unregistered(found, first.claim_id)
    )
    assert claimed is not None
    assert claimed.resume_from is not None
    assert (claimed.resume_from.step, claimed.record.resumed_from_step) == (10, 10)
    assert [one.step for one in attempts.checkpoints(job_id)] == [5, 10]
    await until(lambda: nothing_to_sweep(plane))
    assert "checkpoint_step_8.pt" not in files(plane)
    for number, saved in ((3, late), (4, of_another)):
        attempts.finish(claimed.token, Outcome(OutcomeKind.HANDED_BACK))
        claimed = attempts.claim(job_id, number, "worker-2", unregistered=saved)
        assert claimed is not None
        assert claimed.record.resumed_from_step == 10
    assert [one.step for one in attempts.checkpoints(job_id)] == [5, 10]


async def test_what_a_job_saved_last_before_it_stopped_stays_until_it_is_claimed_again(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.register_checkpoint(token, save(plane, token, 5))
    found = save(plane, token, 10)
    half = Path(plane.state.settings.artifact_root) / Path(found.artifact).with_name(".x.tmp")
    half.write_bytes(b"half")
    attempts.finish(token, Outcome(OutcomeKind.CRASHED, JobError("TRAINER_DIED", "killed")))
    for _ in range(2):  # in the end it is stopped while it waits, as an attempt without a claim
        await plane.state.jobs.request_stop(job_id)
        await until(lambda: nothing_to_sweep(plane))
        assert "checkpoint_step_10.pt" in files(plane)
        assert not half.exists()
        await plane.state.reconcile.swept(job_id)
        await plane.state.jobs.expect_files(job_id)  # another sweep
        resumed = await plane.state.jobs.resume(job_id)
    claimed = attempts.claim(job_id, resumed.attempt, "worker-2")
    assert claimed is not None
    kept = ["checkpoint_step_5.json", "checkpoint_step_5.pt", "output.log"]
    await until(lambda: files(plane) == kept)


async def test_nothing_is_swept_while_another_store_is_in_the_place_of_the_right_one(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    old, new = save(plane, token, 5), save(plane, token, 10)
    for record in (old, new):
        attempts.register_checkpoint(token, record)
    assert attempts.unregister_checkpoint(token, old.checkpoint_id)
    deleted, token = await running_job(stubs, attempts)
    save(plane, token, 5)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    root = Path(plane.state.settings.artifact_root)
    root.rename(root.with_name("volume"))
    root.mkdir()
    delete = job_pb2.DeleteJobRequest(job_id=deleted, request_id="delete")
    failure = await failure_of(stubs.jobs.DeleteJob(delete))
    assert (failure.reason, "carries no identity" in failure.message) == ("STORE_UNAVAILABLE", True)
    with pytest.raises(ArtifactStoreAwayError, match="carries no identity"):
        await Sweeper(plane.state).sweep()
    assert [one.step for one in attempts.retired_checkpoints(job_id)] == [5]
    root.rmdir()
    root.with_name("volume").rename(root)
    await stubs.jobs.DeleteJob(delete)
    kept = ["checkpoint_step_10.json", "checkpoint_step_10.pt", "output.log"]
    await until(lambda: files(plane) == kept)
    await until(lambda: nothing_to_sweep(plane))


async def test_what_a_job_that_begins_at_step_0_gave_up_goes_with_its_first_new_checkpoint(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.register_checkpoint(token, save(plane, token, 5))
    attempts.register_checkpoint(token, save(plane, token, 10))
    attempts.finish(token, Outcome(OutcomeKind.FAILED))
    asked = job_pb2.ResumeJobRequest(job_id=job_id, from_start=True)
    job = (await stubs.jobs.ResumeJob(asked)).job
    assert (job.status, job.attempt) == (job_pb2.JOB_STATUS_QUEUED, 2)
    assert not job.HasField("resumed_from_step")
    assert attempts.checkpoints(job_id) == []
    claimed = attempts.claim(job_id, 2, "worker-2")
    assert claimed is not None
    assert claimed.resume_from is None
    await until(lambda: nothing_to_sweep(plane))
    assert [one.step for one in attempts.retired_checkpoints(job_id)] != []
    assert "checkpoint_step_10.pt" in files(plane)
    attempts.register_checkpoint(claimed.token, save(plane, claimed.token, 3))
    kept = ["checkpoint_step_3.json", "checkpoint_step_3.pt", "output.log", "output.log"]
    await until(lambda: files(plane) == kept)


async def test_one_folder_that_cannot_be_removed_holds_up_no_other(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for _ in range(2):
        job_id, token = await running_job(stubs, attempts)
        save(plane, token, 5)
        attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
        ids.append(job_id)
    for method in ("delete_prefix", "delete_names"):
        remove = getattr(plane.state.artifacts, method)

        def stubborn(*names: str, remove: Callable[..., Any] = remove) -> Any:
            if any(ids[0] in name for name in names):
                raise PermissionError(13, "Permission denied", names[0])
            return remove(*names)

        monkeypatch.setattr(plane.state.artifacts, method, stubborn)
    with pytest.raises(NotJournaledError, match="Permission denied"):
        await plane.state.jobs.delete(ids[0])
    await plane.state.jobs.delete(ids[1])
    await until(lambda: len(files(plane)) == 3)
    monkeypatch.undo()
    await until(lambda: files(plane) == [])


async def test_one_record_that_cannot_be_read_holds_up_no_other(
    stubs: Any, plane: ControlPlane, attempts: AttemptStore
) -> None:
    odd, token = await running_job(stubs, attempts)
    record = save(plane, token, 5)
    attempts.register_checkpoint(token, record)
    key = plane.state.reconcile._keys.job(odd, "checkpoint_data")
    await plane.state.connection.command("HSET", key, record.checkpoint_id, b"1\nodd")
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    later, token = await running_job(stubs, attempts)
    assert odd < later
    attempts.register_checkpoint(token, save(plane, token, 9))
    save(plane, token, 8)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    kept = [
        *("checkpoint_step_5.json", "checkpoint_step_5.pt"),
        *("checkpoint_step_9.json", "checkpoint_step_9.pt"),
        *("output.log", "output.log"),
    ]
    await until(lambda: files(plane) == kept)
    assert not await nothing_to_sweep(plane)


async def test_uploads_and_deletions_that_were_not_completed_go_when_they_are_old(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = plane.state
    kept = await state.datasets.create("a.txt", 1, "0" * 64, "datasets/x/a.txt")
    abandoned, unknown = new_id("dataset"), new_id("dataset")
    for dataset_id in (kept.dataset_id, abandoned, unknown):
        state.artifacts.put(f"datasets/{dataset_id}/a.txt", [b"x"])
    for dataset_id in (kept.dataset_id, abandoned):
        await state.datasets.expect(dataset_id)
    sweeper = Sweeper(state)
    await sweeper.sweep()
    assert len(state.artifacts.keys("datasets")) == 3  # all may be under way
    monkeypatch.setattr(leftovers, "_QUIET_SECONDS", 0.0)
    await Sweeper(state).sweep()
    left = [f"datasets/{id}/a.txt" for id in (kept.dataset_id, unknown)]
    assert state.artifacts.keys("datasets") == sorted(left)

    async def all_settled() -> bool:
        return not await state.datasets.unsettled(0.0)

    await until(all_settled)  # the control plane's own sweeper may be at it as well
