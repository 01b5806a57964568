"""JobService: starts, shows, follows, stops, resumes and deletes jobs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

from app.training.config import TrainingConfig
from control_plane.annotations import MOST_TAGS, changes_of, check_tags
from control_plane.config_codec import to_document
from control_plane.conversion import (
    STATUS_FROM_MESSAGE,
    job_message,
    log_line_message,
)
from control_plane.errors import invalid_argument
from control_plane.forks import start_fork
from control_plane.job_surroundings import delete_job, enqueue
from control_plane.paging import long_page_size, page_size
from control_plane.planning import plan_job
from control_plane.requests import MAX_NAME, check_name, idempotency
from control_plane.state import Context, Servicer
from control_plane.watching import watch_job
from job_store.errors import TooManyTagsError, TransitionRefusedError
from job_store.records import JobFilter, JobRecord, JobStatus, Request, SweepStatus
from training_engine.v1 import job_pb2, job_pb2_grpc

_MOST_IN_BATCH = 100
_NUMBER_SUFFIX = 20
"""Most characters of the number that the store adds to a name which another job has."""


class JobServicer(Servicer, job_pb2_grpc.JobServiceServicer):
    """See `job.proto` for what each method promises."""

    async def StartJob(
        self, request: job_pb2.StartJobRequest, context: Context
    ) -> job_pb2.StartJobResponse:
        idempotency_key = idempotency(request, "StartJob")
        record = await self._state.jobs.answered(idempotency_key)
        if record is None:
            await self._state.journal.require()
            record = await self._state.jobs.create(
                await plan_job(request, self._state), idempotency_key
            )
        await enqueue(record, self._state)
        return job_pb2.StartJobResponse(job=job_message(record))

    async def ForkJob(
        self, request: job_pb2.ForkJobRequest, context: Context
    ) -> job_pb2.ForkJobResponse:
        idempotency_key = idempotency(request, "ForkJob")
        record = await self._state.jobs.answered(idempotency_key)
        if record is None:
            await self._state.journal.require()
            record = await start_fork(request, self._state, idempotency_key)
        await enqueue(record, self._state)
        return job_pb2.ForkJobResponse(job=job_message(record))

    async def BatchGetJobs(
        self, request: job_pb2.BatchGetJobsRequest, context: Context
    ) -> job_pb2.BatchGetJobsResponse:
        job_ids = dict.fromkeys(request.job_ids)
        if not 1 <= len(job_ids) <= _MOST_IN_BATCH:
            message = (
                f"`job_ids` has {len(job_ids)} jobs; it must have 1 to {_MOST_IN_BATCH}; ask for "
                "the others in another call"
            )
            raise invalid_argument("job_ids", message)
        records = await asyncio.gather(*map(self._state.jobs.get, job_ids))
        return job_pb2.BatchGetJobsResponse(jobs=map(job_message, records))

    async def GetJob(
        self, request: job_pb2.GetJobRequest, context: Context
    ) -> job_pb2.GetJobResponse:
        record = await self._state.jobs.get(request.job_id)
        return job_pb2.GetJobResponse(job=job_message(record))

    async def ListJobs(
        self, request: job_pb2.ListJobsRequest, context: Context
    ) -> job_pb2.ListJobsResponse:
        chosen = JobFilter(
            _status_filter(request.status),
            check_name(request.name, longest=MAX_NAME + _NUMBER_SUFFIX),
            _id_prefix(request.job_id_prefix),
            check_tags("tags", request.tags),
            check_name(request.search, "search"),
        )
        page = await self._state.jobs.list(chosen, page_size(request.page_size), request.page_token)
        return job_pb2.ListJobsResponse(
            jobs=[job_message(record) for record in page.items],
            next_page_token=page.next_page_token,
        )

    async def UpdateJob(
        self, request: job_pb2.UpdateJobRequest, context: Context
    ) -> job_pb2.UpdateJobResponse:
        try:
            record = await self._state.jobs.update(
                request.job_id,
                **changes_of(request),
                most_tags=MOST_TAGS,
                request=idempotency(request, "UpdateJob"),
            )
        except TooManyTagsError as error:
            raise invalid_argument("add_tags", str(error)) from error
        return job_pb2.UpdateJobResponse(job=job_message(record))

    async def StopJob(
        self, request: job_pb2.StopJobRequest, context: Context
    ) -> job_pb2.StopJobResponse:
        await self._refuse_in_sweep(request.job_id, "stop", SweepStatus.RUNNING)
        record = await self._state.jobs.request_stop(
            request.job_id, idempotency(request, "StopJob")
        )
        return job_pb2.StopJobResponse(job=job_message(record))

    async def ResumeJob(
        self, request: job_pb2.ResumeJobRequest, context: Context
    ) -> job_pb2.ResumeJobResponse:
        idempotency_key = idempotency(request, "ResumeJob")
        record = await self._state.jobs.answered(idempotency_key)
        if record is None:
            await self._refuse_in_sweep(request.job_id, "resume")
            await self._state.journal.require()
            record = await self._resume(request, idempotency_key)
        await enqueue(record, self._state)
        return job_pb2.ResumeJobResponse(job=job_message(record))

    async def _resume(
        self, request: job_pb2.ResumeJobRequest, idempotency_key: Request | None
    ) -> JobRecord:
        max_steps = request.max_steps if request.HasField("max_steps") else None
        if request.from_start and request.checkpoint_id:
            message = "`from_start` and `checkpoint_id` exclude each other; leave one of them out"
            raise invalid_argument("from_start", message)
        if max_steps is not None and max_steps < 1:
            message = f"`max_steps` is {max_steps}; it must be at least 1; leave it out to keep it"
            raise invalid_argument("max_steps", message)
        document = await self._longer_config(request.job_id, max_steps) if max_steps else None
        return await self._state.jobs.resume(
            request.job_id,
            checkpoint_id=request.checkpoint_id or None,
            max_steps=max_steps,
            from_start=request.from_start,
            config_document=document,
            request=idempotency_key,
        )

    async def DeleteJob(
        self, request: job_pb2.DeleteJobRequest, context: Context
    ) -> job_pb2.DeleteJobResponse:
        await self._refuse_in_sweep(request.job_id, "delete")
        await delete_job(request.job_id, self._state, idempotency(request, "DeleteJob"))
        return job_pb2.DeleteJobResponse()

    async def ListLogs(
        self, request: job_pb2.ListLogsRequest, context: Context
    ) -> job_pb2.ListLogsResponse:
        page = await self._state.history.logs(
            request.job_id,
            page_size=long_page_size(request.page_size),
            page_token=request.page_token,
        )
        return job_pb2.ListLogsResponse(
            lines=[log_line_message(line) for line in page.items],
            next_page_token=page.next_page_token,
        )

    async def ListAlerts(
        self, request: job_pb2.ListAlertsRequest, context: Context
    ) -> job_pb2.ListAlertsResponse:
        alerts = await self._state.history.alerts(request.job_id)
        messages = await self._state.alert_messages(request.job_id, alerts)
        return job_pb2.ListAlertsResponse(alerts=messages)

    def WatchJob(
        self, request: job_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_pb2.WatchJobResponse]:
        # A cursor wins: it holds the step, and also the rewinds that took it back.
        use_step = request.HasField("after_step") and not request.after
        after_step = request.after_step if use_step else None
        return watch_job(self._state, request.job_id, request.after, after_step)

    async def _refuse_in_sweep(self, job_id: str, action: str, *during: SweepStatus) -> None:
        """Refuse for a child what would disturb its sweep.

        Raises:
            TransitionRefusedError: Its sweep is in one of these states; by default, undecided.
        """
        sweep_id = await self._state.jobs.sweep_of(job_id)
        status = await self._state.sweeps.status_of(sweep_id) if sweep_id else None
        if status in (during or (SweepStatus.RUNNING, SweepStatus.STOPPED)):
            raise TransitionRefusedError(
                job_id,
                f"a child of a {status} sweep",
                action,
                f"{action} the whole sweep, {sweep_id}",
            )

    async def _longer_config(self, job_id: str, max_steps: int) -> str:
        """Return the job's configuration with another `max_steps`.

        Raises:
            ConfigError: A configuration that cannot be used; `problems` lists every reason, not
                only the first.
        """
        record = await self._state.jobs.get(job_id)
        values = json.loads(record.config_document) | {"max_steps": max_steps}
        return to_document(TrainingConfig.from_dict(values))


def _status_filter(number: int) -> JobStatus | None:
    if number == job_pb2.JOB_STATUS_UNSPECIFIED:
        return None
    if number not in STATUS_FROM_MESSAGE:
        allowed = ", ".join(f"{n} ({status.value})" for n, status in STATUS_FROM_MESSAGE.items())
        message = f"`status` is {number}; it must be one of {allowed}; leave it out for all"
        raise invalid_argument("status", message)
    return STATUS_FROM_MESSAGE[number]


def _id_prefix(prefix: str) -> str:
    if prefix and not re.fullmatch(r"[0-9a-z_]{1,40}", prefix):
        rule = "it must be the beginning of an id as the service returned it; leave it out for all"
        raise invalid_argument("job_id_prefix", f"`job_id_prefix` is {prefix[:80]!r}; {rule}")
    return prefix
