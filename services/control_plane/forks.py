"""Starts a job that begins with a checkpoint of another: a fork.

With a fresh optimizer the checkpoint gives its weights, and the run begins at step 0. With a kept
one a copy of the checkpoint is the fork's first, of attempt 0, and the run resumes from it: so
whatever becomes of its parent, the fork can be trained, retried and recovered as any other job.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from app.training.config import ConfigError, FieldProblem, TrainingConfig
from app.training.initial_weights import MODEL_FIELDS_FREE_TO_CHANGE
from artifact_store import ArtifactNotFoundError, checkpoint_keys, job_prefix
from control_plane.annotations import check_notes, check_tags
from control_plane.config_codec import unknown_field_problems
from control_plane.conversion import FORK_OPTIMIZER_FROM_MESSAGE, job_message
from control_plane.errors import call_error, invalid_argument
from control_plane.initial_weights import CHECKPOINT_SCHEME
from control_plane.overlay import changed_config, config_of, read_changes
from control_plane.planning import plan_run
from control_plane.state import ServiceState
from job_store.errors import NotFoundError
from job_store.ids import new_id
from job_store.records import CheckpointRecord, ForkOptimizer, JobRecord, Request
from training_engine.messages import present_fields
from training_engine.v1 import job_pb2

_KEPT_FIELDS = ("freeze", "optimizer_type")
"""Fields that decide what an optimizer's state is the state of."""


async def start_fork(
    request: job_pb2.ForkJobRequest, state: ServiceState, idempotency_key: Request | None
) -> JobRecord:
    """Return the stored job.

    Raises:
        NotFoundError: There is no such checkpoint, job or dataset.
        ConfigError: The changed configuration breaks a rule, or does not fit the checkpoint.
        RpcError: The request is refused; the error says why.
        ArtifactError: The checkpoint's file cannot be copied.
    """
    optimizer = _optimizer(request.optimizer)
    tags, notes = check_tags("tags", request.tags), check_notes(request.notes)
    checkpoint = await _checkpoint(request, state)
    parent = await state.jobs.get(checkpoint.job_id)
    changes = _changes(request)
    config = changed_config(config_of(parent), changes)
    if problems := _problems(config, changes, parent, checkpoint, optimizer):
        raise ConfigError(problems)
    config.initial_weights = CHECKPOINT_SCHEME + checkpoint.checkpoint_id
    request.execution.CopyFrom(_execution(parent, request.execution))
    new = replace(
        await plan_run(request, config, state),
        parent_job_id=parent.job_id,
        parent_checkpoint_id=checkpoint.checkpoint_id,
        fork_step=checkpoint.step,
        fork_optimizer=optimizer,
        tags=tags,
        user_notes=notes,
    )
    is_kept = optimizer is ForkOptimizer.KEPT
    base = await _copied(checkpoint, new_id("job"), state) if is_kept else None
    return await state.jobs.create(new, idempotency_key, begins_with=base)


def _optimizer(number: int) -> ForkOptimizer:
    if number == job_pb2.FORK_OPTIMIZER_UNSPECIFIED:
        return ForkOptimizer.KEPT
    if number not in FORK_OPTIMIZER_FROM_MESSAGE:
        rule = "it must be 1 (kept) or 2 (fresh); leave it out for kept"
        raise invalid_argument("optimizer", f"`optimizer` is {number}; {rule}")
    return FORK_OPTIMIZER_FROM_MESSAGE[number]


async def _checkpoint(request: job_pb2.ForkJobRequest, state: ServiceState) -> CheckpointRecord:
    if bool(request.checkpoint_id) == bool(request.job_id):
        message = "a fork begins with one checkpoint; give either `checkpoint_id` or `job_id`"
        raise invalid_argument("checkpoint_id", message)
    if request.checkpoint_id:
        return await state.jobs.get_checkpoint(request.checkpoint_id)
    chosen = await state.jobs.chosen_checkpoint(request.job_id)
    if chosen is None:
        raise call_error(
            "CHECKPOINT_NOT_FOUND",
            f"job {request.job_id} has no checkpoint to fork; it saves one each `save_steps` steps "
            "and when it stops",
        )
    return chosen


def _changes(request: job_pb2.ForkJobRequest) -> dict[str, Any]:
    if problems := unknown_field_problems(request.config):
        raise ConfigError(problems)
    return present_fields(request.config) | read_changes(request.config_document)


def _execution(parent: JobRecord, asked: job_pb2.Execution) -> job_pb2.Execution:
    """Return the parent's execution with what was asked for in it; a device is in the config."""
    execution = job_message(parent).execution
    execution.ClearField("device")
    execution.MergeFrom(asked)
    return execution


def _problems(
    config: TrainingConfig,
    changes: dict[str, Any],
    parent: JobRecord,
    checkpoint: CheckpointRecord,
    optimizer: ForkOptimizer,
) -> list[FieldProblem]:
    """Return what does not fit the checkpoint."""
    problems = []
    if changes.get("initial_weights") is not None:
        message = (
            f"`initial_weights` is {config.initial_weights!r}; a fork begins with its checkpoint; "
            "leave it out, or start a job"
        )
        problems.append(FieldProblem("initial_weights", message))
    before = TrainingConfig.read(config_of(parent))[0]
    free = set(MODEL_FIELDS_FREE_TO_CHANGE)
    if optimizer is ForkOptimizer.FRESH:
        free |= {"vocab_size"} if config.resize_vocabulary else set()
    else:
        problems += _kept_problems(config, before, checkpoint.step)
    ours, theirs = config.model_config.to_dict(), before.model_config.to_dict()
    remedy = "a fork has the model of its checkpoint; leave it out"
    return problems + [
        _changed(f"model_config.{name}", value, theirs[name], remedy)
        for name, value in ours.items()
        if name not in free and value != theirs[name]
    ]


def _kept_problems(config: TrainingConfig, before: TrainingConfig, step: int) -> list[FieldProblem]:
    remedy = "a kept optimizer belongs to the one before; leave it out, or fork with a fresh one"
    problems = [
        _changed(name, getattr(config, name), getattr(before, name), remedy)
        for name in _KEPT_FIELDS
        if getattr(config, name) != getattr(before, name)
    ]
    if config.max_steps <= step:
        message = (
            f"`max_steps` is {config.max_steps} and the checkpoint is of step {step}; with a kept "
            "optimizer steps are counted on from there; raise max_steps, or fork with a fresh one"
        )
        problems.append(FieldProblem("max_steps", message))
    return problems


def _changed(name: str, now: object, before: object, remedy: str) -> FieldProblem:
    return FieldProblem(name, f"`{name}` is {now!r} and was {before!r}; {remedy}")


async def _copied(
    checkpoint: CheckpointRecord, job_id: str, state: ServiceState
) -> CheckpointRecord:
    """Copy a checkpoint's files for a job; return the record that the copy gets there."""
    artifact = f"{job_prefix(job_id)}/fork/{PurePosixPath(checkpoint.artifact).name}"
    artifacts = await state.open_artifacts()
    await state.jobs.expect_files(job_id)
    manifest, file = checkpoint_keys(checkpoint.artifact)
    own_manifest, own_file = checkpoint_keys(artifact)
    await asyncio.to_thread(artifacts.copy, file, own_file)
    try:
        await asyncio.to_thread(artifacts.copy, manifest, own_manifest)
    except ArtifactNotFoundError:
        pass  # a bucket may have none: the record has all that a resume needs
    return replace(
        checkpoint,
        checkpoint_id=new_id("checkpoint"),
        job_id=job_id,
        attempt=0,
        artifact=artifact,
        best_score=None,
        is_best=False,
    )


async def steps_before(state: ServiceState, job_id: str) -> int:
    """Return how many steps its parents had taken that the job's own count of steps leaves out.

    The parents of one that was deleted are not known any more, and not counted.

    Raises:
        NotFoundError: There is no such record.
    """
    record = await state.jobs.get(job_id)
    steps = 0
    while record.parent_job_id:
        if record.fork_optimizer is ForkOptimizer.FRESH:
            steps += record.fork_step or 0
        try:
            record = await state.jobs.get(record.parent_job_id)
        except NotFoundError:
            break
    return steps
