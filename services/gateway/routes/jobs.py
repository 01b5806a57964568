"""The state of a job: a part of GetJob's answer, at an address of its own."""

from __future__ import annotations

from fastapi import Response

from gateway.contract import view_to_plain
from gateway.routes.declare import CallerOf, answer, problems, router, rpc
from gateway.schemas.shapes import answer as shape
from training_engine.v1 import job_pb2

routes = router("jobs")

_VIEW = "JobStatus"


@routes.get(
    "/jobs/{job_id}/status",
    response_model=shape(job_pb2.Job.DESCRIPTOR, _VIEW),
    responses=problems(404),
    openapi_extra=rpc("JobService.GetJob"),
)
async def get_job_status(job_id: str, caller: CallerOf) -> Response:
    """Return the state of a job and how far it is."""
    request = job_pb2.GetJobRequest(job_id=job_id)
    response = await caller.call(caller.control_plane.jobs.GetJob, request)
    return answer(view_to_plain(response.job, _VIEW))
