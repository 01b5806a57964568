"""Jobs: start, look, stop, resume, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from gateway.codec import job_summary, page_to_json
from gateway.routes.configs import document
from gateway.routes.declare import (
    NO_CONTENT,
    CallerOf,
    IdempotencyKey,
    answer,
    problems,
    request_id,
    router,
    rpc,
)
from gateway.schemas.jobs import (
    ExecutionBody,
    Job,
    JobPage,
    JobQuery,
    JobStatus,
    LogPage,
    LogQuery,
    ResumedJob,
    ResumeJobBody,
    StartJobBody,
    StoppedJob,
)
from training_engine.messages import message_to_plain
from training_engine.v1 import job_pb2

routes = router("jobs")

_STATUS_FIELDS = tuple(JobStatus.model_fields)


@routes.post(
    "/jobs/start",
    status_code=201,
    response_model=Job,
    responses=problems(404, 409, 413),
    openapi_extra=rpc("JobService.StartJob"),
)
async def start_job(
    body: StartJobBody, caller: CallerOf, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Validate a configuration, store the job and queue its first attempt."""
    started = await caller.call(
        caller.control_plane.jobs.StartJob,
        job_pb2.StartJobRequest(
            config_document=None if body.config is None else document(body.config),
            config_id=body.config_id,
            dataset_path=body.dataset_path,
            val_dataset_path=body.val_dataset_path,
            name=body.name,
            execution=_execution(body.execution),
            request_id=request_id(idempotency_key, body.request_id),
        ),
    )
    return answer(message_to_plain(started.job), 201, Location=started.job.job_id)


def _execution(body: ExecutionBody | None) -> job_pb2.Execution | None:
    if body is None:
        return None
    given = body.model_dump(exclude={"priority"}, exclude_none=True)
    if body.priority is not None:
        given["priority"] = job_pb2.JobPriority.Value(f"JOB_PRIORITY_{body.priority.upper()}")
    return job_pb2.Execution(**given)


@routes.get(
    "/jobs",
    response_model=JobPage,
    responses=problems(),
    openapi_extra=rpc("JobService.ListJobs"),
)
async def list_jobs(page: Annotated[JobQuery, Query()], caller: CallerOf) -> Response:
    """Jobs, newest first, without their configurations."""
    request = job_pb2.ListJobsRequest(
        page_size=page.page_size,
        page_token=page.page_token,
        status=f"JOB_STATUS_{(page.status or 'unspecified').upper()}",
        name=page.name,
        job_id_prefix=page.job_id_prefix,
    )
    listed = await caller.call(caller.control_plane.jobs.ListJobs, request)
    return answer(page_to_json(listed, jobs=job_summary))


@routes.get(
    "/jobs/{job_id}",
    response_model=Job,
    responses=problems(404),
    openapi_extra=rpc("JobService.GetJob"),
)
async def get_job(job_id: str, caller: CallerOf) -> Response:
    """The whole record of a job, its configuration included."""
    request = job_pb2.GetJobRequest(job_id=job_id)
    return answer(
        message_to_plain((await caller.call(caller.control_plane.jobs.GetJob, request)).job)
    )


@routes.get(
    "/jobs/{job_id}/status",
    response_model=JobStatus,
    responses=problems(404),
    openapi_extra=rpc("JobService.GetJob"),
)
async def get_job_status(job_id: str, caller: CallerOf) -> Response:
    """Where a job stands."""
    request = job_pb2.GetJobRequest(job_id=job_id)
    job = job_summary((await caller.call(caller.control_plane.jobs.GetJob, request)).job)
    return answer({name: job[name] for name in _STATUS_FIELDS})


@routes.post(
    "/jobs/{job_id}/stop",
    status_code=202,
    response_model=StoppedJob,
    responses=problems(404, 409),
    openapi_extra=rpc("JobService.StopJob"),
)
async def stop_job(job_id: str, caller: CallerOf, idempotency_key: IdempotencyKey = "") -> Response:
    """Ask a job to save a checkpoint at the next step and stop. A queued job stops at once."""
    request = job_pb2.StopJobRequest(job_id=job_id, request_id=idempotency_key)
    job = message_to_plain((await caller.call(caller.control_plane.jobs.StopJob, request)).job)
    return answer({name: job[name] for name in StoppedJob.model_fields}, 202)


@routes.post(
    "/jobs/{job_id}/resume",
    status_code=202,
    response_model=ResumedJob,
    responses=problems(404, 409, 413),
    openapi_extra=rpc("JobService.ResumeJob"),
)
async def resume_job(
    job_id: str,
    caller: CallerOf,
    body: ResumeJobBody | None = None,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Queue a new attempt of a job that has ended; without a body from the newest checkpoint."""
    body = body or ResumeJobBody(checkpoint_id=None, max_steps=None, from_start=False)
    request = job_pb2.ResumeJobRequest(
        job_id=job_id,
        checkpoint_id=body.checkpoint_id,
        max_steps=body.max_steps,
        from_start=body.from_start,
        request_id=request_id(idempotency_key, body.request_id),
    )
    job = message_to_plain((await caller.call(caller.control_plane.jobs.ResumeJob, request)).job)
    return answer({name: job[name] for name in ResumedJob.model_fields}, 202)


@routes.delete(
    "/jobs/{job_id}",
    status_code=NO_CONTENT,
    responses=problems(404, 409),
    openapi_extra=rpc("JobService.DeleteJob"),
)
async def delete_job(
    job_id: str, caller: CallerOf, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Delete a job that is not running: record, history, logs and checkpoints."""
    request = job_pb2.DeleteJobRequest(job_id=job_id, request_id=idempotency_key)
    await caller.call(caller.control_plane.jobs.DeleteJob, request)
    return Response(status_code=NO_CONTENT)


@routes.get(
    "/jobs/{job_id}/logs",
    response_model=LogPage,
    responses=problems(404),
    openapi_extra=rpc("JobService.ListLogs"),
)
async def list_logs(job_id: str, page: Annotated[LogQuery, Query()], caller: CallerOf) -> Response:
    """What the trainer printed, oldest first."""
    request = job_pb2.ListLogsRequest(
        job_id=job_id, page_size=page.page_size, page_token=page.page_token
    )
    return answer(page_to_json(await caller.call(caller.control_plane.jobs.ListLogs, request)))
