"""Which checkpoint a `model` means: its id, or a job, which means its best one."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from gateway.control_plane import Caller
from gateway.problems import ProblemError
from training_engine._finding import is_checkpoint_id, is_job_id
from training_engine.errors import FieldProblem
from training_engine.v1 import checkpoint_pb2, job_pb2

Model = dict[str, Any]

LISTED = 50
"""Jobs whose models are listed: the newest ones."""
_OWNER = "training-engine"
_PAGE = 1000


async def checkpoint_of(caller: Caller, model: str) -> str:
    """Return the id of the checkpoint that a model means.

    Raises:
        ProblemError: There is no such job, or it has no checkpoint.
        AioRpcError: The control plane does not answer.
    """
    if is_checkpoint_id(model):
        return model
    job = await _job_of(caller, model)
    if job is None:
        raise _not_found(
            model,
            "JOB_NOT_FOUND",
            f"model is {model!r}; there is no job with this name or id; give the name of a job, or "
            "the id of a checkpoint; GET /v1/models lists some",
        )
    checkpoints = await _checkpoints(caller, job.job_id)
    if not checkpoints:
        raise _not_found(
            model,
            "CHECKPOINT_NOT_FOUND",
            f"model is {model!r}; this job has no checkpoints yet; it saves one each `save_steps` "
            "steps and when it stops",
        )
    best = next((each for each in checkpoints if each.is_best), checkpoints[-1])
    return str(best.checkpoint_id)


async def listed(caller: Caller) -> list[Model]:
    """Return the newest jobs that have a checkpoint."""
    request = job_pb2.ListJobsRequest(page_size=LISTED)
    answer = await caller.call(caller.control_plane.jobs.ListJobs, request)
    pages = await asyncio.gather(*(_page(caller, job.job_id, size=1) for job in answer.jobs))
    found = zip(answer.jobs, pages, strict=True)
    return [_model(job.name, job.created_at.seconds) for job, page in found if page.checkpoints]


async def described(caller: Caller, model: str) -> Model:
    """Return one model, see `checkpoint_of`."""
    checkpoint_id = await checkpoint_of(caller, model)
    request = checkpoint_pb2.GetCheckpointRequest(checkpoint_id=checkpoint_id)
    answer = await caller.call(caller.control_plane.checkpoints.GetCheckpoint, request)
    return _model(model, answer.checkpoint.created_at.seconds)


async def _job_of(caller: Caller, reference: str) -> Any:
    jobs = caller.control_plane.jobs
    if not reference.strip():
        return None
    named = await caller.call(jobs.ListJobs, job_pb2.ListJobsRequest(page_size=1, name=reference))
    if named.jobs:
        return named.jobs[0]
    if not is_job_id(reference):
        return None
    try:
        answer = await caller.call(jobs.GetJob, job_pb2.GetJobRequest(job_id=reference))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    return answer.job


async def _checkpoints(caller: Caller, job_id: str) -> list[Any]:
    """Return a job's checkpoints, ascending by step."""
    page = await _page(caller, job_id)
    found = [*page.checkpoints]
    while page.next_page_token:
        page = await _page(caller, job_id, token=page.next_page_token)
        found += page.checkpoints
    return found


async def _page(caller: Caller, job_id: str, *, size: int = _PAGE, token: str = "") -> Any:
    request = checkpoint_pb2.ListCheckpointsRequest(job_id=job_id, page_size=size, page_token=token)
    return await caller.call(caller.control_plane.checkpoints.ListCheckpoints, request)


def _model(name: str, created: int) -> Model:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}


def _not_found(model: str, reason: str, message: str) -> ProblemError:
    return ProblemError(message, reason=reason, errors=[FieldProblem("model", message)])
