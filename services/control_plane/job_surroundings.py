"""What belongs to a job's record elsewhere: its message in the queue, its files."""

from __future__ import annotations

import asyncio

from artifact_store import ArtifactStoreAwayError, job_prefix
from control_plane.state import ServiceState
from job_store.errors import StoreUnavailableError
from job_store.records import JobRecord, JobStatus, Request
from service_runtime.logs import get_logger

_log = get_logger("control_plane")


async def enqueue(record: JobRecord, state: ServiceState) -> None:
    """Hand the attempt to the queue. Where that fails the reconciler does it later."""
    if record.status is not JobStatus.QUEUED or record.enqueued_at is not None:
        return  # the request is a repeated one, and its message has been sent
    if record.execution.nodes > 1:
        return  # the reconciler sends it once so many workers are there
    try:
        run = record.execution
        await state.queue.send(record.job_id, record.attempt, run.priority, run.device)
        await state.jobs.mark_enqueued(record.job_id, record.attempt)
    except StoreUnavailableError as error:
        _log.warning("a message is left to the reconciler", job_id=record.job_id, why=str(error))


async def delete_job(job_id: str, state: ServiceState, request: Request | None = None) -> None:
    """Delete a job that no worker holds: its record, then its files.

    Raises:
        NotFoundError: There is no such job.
        TransitionRefusedError: A worker holds it.
    """
    await state.jobs.delete(job_id, request)
    state.series.forget(job_id)
    # The record goes first, so that every listed job has its files. If this process dies in
    # between, or the artifact store is away, the sweeper deletes the files.
    try:
        artifacts = await state.open_artifacts()
        await asyncio.to_thread(artifacts.delete_prefix, job_prefix(job_id))
    except ArtifactStoreAwayError as error:
        _log.warning("files are left to the sweeper", job_id=job_id, why=str(error))
