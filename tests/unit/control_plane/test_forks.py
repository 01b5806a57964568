"""Forks: what their record says, what they have of their parent, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failure import failure_of
from started import TINY, running_job, start
from test_leftovers import files, nothing_to_sweep, save, until

from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from job_store.attempts import AttemptStore
from job_store.errors import StoreUnavailableError
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.records import CheckpointRecord, FencingToken, Outcome, OutcomeKind
from training_engine.v1 import checkpoint_pb2, config_pb2, job_pb2, metrics_pb2


@pytest.fixture
def plane_settings(plane_settings: ControlPlaneSettings) -> ControlPlaneSettings:
    plane_settings.sweep_after_seconds = 0.2
    return plane_settings


async def saved(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore, step: int = 10
) -> tuple[FencingToken, CheckpointRecord]:
    """A running job's checkpoint, with its files."""
    execution = job_pb2.Execution(max_retries=7)
    _, token = await running_job(stubs, attempts, execution, dataset_path="corpus.txt")
    record = save(plane, token, step)
    attempts.register_checkpoint(token, record)
    return token, record


def fork_of(record: CheckpointRecord, **fields: Any) -> job_pb2.ForkJobRequest:
    return job_pb2.ForkJobRequest(checkpoint_id=record.checkpoint_id, **fields)


async def checkpoints_of(stubs: Any, job_id: str) -> list[Any]:
    request = checkpoint_pb2.ListCheckpointsRequest(job_id=job_id)
    return list((await stubs.checkpoints.ListCheckpoints(request)).checkpoints)


async def test_a_fork_has_its_parents_configuration_state_and_lineage(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    token, record = await saved(plane, stubs, attempts)
    changes = json.dumps({"learning_rate": 1e-4, "max_steps": 40, "early_stopping": None})
    words: dict[str, Any] = {"name": "longer", "tags": ["long", "long"], "notes": "on\n"}
    request = fork_of(record, config_document=changes, request_id="once", **words)
    job = (await stubs.jobs.ForkJob(request)).job
    assert (await stubs.jobs.ForkJob(request)).job.job_id == job.job_id
    assert (job.parent_job_id, job.parent_checkpoint_id) == (token.job_id, record.checkpoint_id)
    assert (job.fork_step, job.current_step, job.max_steps) == (10, 10, 40)
    assert (list(job.tags), job.notes) == (["long"], "on")
    assert job.fork_optimizer == job_pb2.FORK_OPTIMIZER_KEPT
    assert (job.config.learning_rate, job.config.warmup_steps) == (1e-4, TINY["warmup_steps"])
    assert job.execution.max_retries == 7
    assert job.config.initial_weights == f"checkpoint://{record.checkpoint_id}"

    # Its checkpoint is its own: neither its parent's deletion nor a sweep takes it away.
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=token.job_id))
    await until(lambda: nothing_to_sweep(plane))
    (own,) = await checkpoints_of(stubs, job.job_id)
    assert (own.step, own.attempt, own.is_best) == (10, 0, False)
    assert files(plane) == ["checkpoint_step_10.json", "checkpoint_step_10.pt"]
    claimed = attempts.claim(job.job_id, 1, "worker-1")
    assert claimed is not None
    assert claimed.resume_from is not None
    assert claimed.resume_from.checkpoint_id == own.checkpoint_id
    assert claimed.record.resumed_from_step == 10
    assert (Path(plane.state.settings.artifact_root) / claimed.resume_from.artifact).is_file()


async def test_a_fresh_optimizer_begins_at_step_0_with_the_weights(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    token, _ = await saved(plane, stubs, attempts)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    typed = config_pb2.TrainingConfig(max_steps=5, freeze=["token_embedding.*"])
    request = job_pb2.ForkJobRequest(
        job_id=token.job_id, optimizer=job_pb2.FORK_OPTIMIZER_FRESH, config=typed
    )
    job = (await stubs.jobs.ForkJob(request)).job
    assert (job.fork_step, job.current_step, job.max_steps) == (10, 0, 5)
    assert list(job.config.freeze) == ["token_embedding.*"]
    assert await checkpoints_of(stubs, job.job_id) == []
    claimed = attempts.claim(job.job_id, 1, "worker-1")
    assert claimed is not None
    assert claimed.resume_from is None


async def test_the_axis_of_lineage_counts_on_from_the_parents(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    """A fresh fork of step 10, and a fork of its step 2 that keeps the optimizer."""
    token, record = await saved(plane, stubs, attempts)
    fresh = fork_of(record, optimizer=job_pb2.FORK_OPTIMIZER_FRESH)
    child = begun(attempts, (await stubs.jobs.ForkJob(fresh)).job.job_id, 0)
    of_child = save(plane, child, 2)
    attempts.register_checkpoint(child, of_child)
    grandchild = begun(attempts, (await stubs.jobs.ForkJob(fork_of(of_child))).job.job_id, 2)
    for each, first in ((token, 9), (child, 1), (grandchild, 3)):
        points = [MetricPoint(step, {"loss": 1.0}, step) for step in (first, first + 1)]
        attempts.publish_metrics(each, points)
    ids = [each.job_id for each in (token, child, grandchild)]
    request = metrics_pb2.GetSeriesRequest(
        job_ids=ids, metrics=["loss"], x_axis=metrics_pb2.SERIES_AXIS_LINEAGE_STEP
    )
    found = (await stubs.metrics.GetSeries(request)).series
    assert [list(curve.x) for curve in found] == [[9, 10], [11, 12], [13, 14]]
    request.from_x = 14
    assert list((await stubs.metrics.GetSeries(request)).series[2].x) == [13, 14]
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=token.job_id))
    del request.job_ids[0]
    request.from_x = 0
    found = (await stubs.metrics.GetSeries(request)).series
    assert [list(curve.x) for curve in found] == [[11, 12], [13, 14]]


def begun(attempts: AttemptStore, job_id: str, step: int) -> FencingToken:
    claimed = attempts.claim(job_id, 1, "worker-1")
    assert claimed is not None
    attempts.confirm_start(claimed.token, step)
    return claimed.token


async def test_what_a_fork_cannot_be_is_refused_by_field(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    token, record = await saved(plane, stubs, attempts)

    async def refused(request: job_pb2.ForkJobRequest) -> tuple[str, list[str], str]:
        failure = await failure_of(stubs.jobs.ForkJob(request))
        return failure.reason, sorted(failure.fields), failure.message

    def changed(**changes: Any) -> job_pb2.ForkJobRequest:
        return fork_of(record, config_document=json.dumps(changes))

    problems = await refused(
        changed(
            max_steps=10,
            optimizer_type="muon",
            freeze=["lm_head.*"],
            model_config={"num_layers": 2, "dropout_rate": 0.2},
        )
    )
    assert problems[0] == "INVALID_CONFIG"
    assert problems[1] == ["freeze", "max_steps", "model_config.num_layers", "optimizer_type"]
    assert "`max_steps` is 10 and the checkpoint is of step 10" in problems[2]
    reason, fields, _ = await refused(changed(learning_rate=-1, unknown=1))
    assert (reason, fields) == ("INVALID_CONFIG", ["learning_rate", "unknown"])
    assert (await refused(changed(initial_weights="model")))[1] == ["initial_weights"]
    assert (await refused(fork_of(record, optimizer=9)))[1] == ["optimizer"]
    assert (await refused(fork_of(record, job_id=token.job_id)))[1] == ["checkpoint_id"]
    assert (await refused(job_pb2.ForkJobRequest()))[1] == ["checkpoint_id"]
    without = await start(stubs)
    reason, _, message = await refused(job_pb2.ForkJobRequest(job_id=without))
    assert (reason, "has no checkpoint to fork" in message) == ("CHECKPOINT_NOT_FOUND", True)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    deletion = checkpoint_pb2.DeleteCheckpointRequest(checkpoint_id=record.checkpoint_id)
    await stubs.checkpoints.DeleteCheckpoint(deletion)
    assert (await refused(fork_of(record)))[0] == "CHECKPOINT_NOT_FOUND"
    gone = job_pb2.ForkJobRequest(checkpoint_id=new_id("checkpoint"))
    assert (await refused(gone))[0] == "CHECKPOINT_NOT_FOUND"


async def test_files_of_a_fork_that_was_not_stored_are_swept(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, record = await saved(plane, stubs, attempts)
    own = files(plane)

    async def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailableError("Redis is away")

    with monkeypatch.context() as patched:
        patched.setattr(plane.state.jobs, "create", fail)
        failure = await failure_of(stubs.jobs.ForkJob(fork_of(record)))
    assert failure.reason == "STORE_UNAVAILABLE"
    assert len(files(plane)) > len(own)
    await until(lambda: files(plane) == own)
