"""The asyncio `AsyncJob` handle and the resource that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training_engine import _calls
from training_engine._aio_link import AsyncLink
from training_engine._aio_resources import AsyncResource
from training_engine._call import present
from training_engine._config_source import ConfigLike, config_source
from training_engine._finding import known_status
from training_engine._following import EventFollower
from training_engine._home import data_path
from training_engine._options import Options
from training_engine._polling import Polling
from training_engine.errors import InvalidArgumentError, TrainingEngineError
from training_engine.records import (
    BulkResult,
    Checkpoint,
    Execution,
    JobEvent,
    JobRecord,
    JobStatus,
    LogLine,
    MetricPoint,
    Page,
    Plain,
    Throughput,
    read,
    to_plain,
)

if TYPE_CHECKING:
    from training_engine.aio import AsyncTrainingEngine

BulkResults = list[BulkResult]  # inside `AsyncJobs`, `list` is a method


@dataclass(frozen=True, kw_only=True)
class AsyncJob(JobRecord):
    """A job as it was when it was fetched, and what can be done with it.

    The fields never change; `refresh`, `wait`, `stop` and `resume` return a newer `AsyncJob`.
    """

    _engine: AsyncTrainingEngine = field(repr=False, compare=False)

    async def refresh(self) -> AsyncJob:
        """Return the job as it is now."""
        return await self._engine.jobs.get(self.job_id)

    async def wait(self, timeout: float | None = None) -> AsyncJob:
        """Wait until the job ends and return it, whether it succeeded, failed or was stopped.

        Raises:
            DeadlineExceededError: (a TimeoutError) It has not ended within `timeout` seconds.
        """
        return await self._engine.jobs.wait(self.job_id, timeout)

    async def stop(self) -> AsyncJob:
        """Ask the job to save a checkpoint at the next step and stop."""
        return await self._engine.jobs.stop(self.job_id)

    async def resume(
        self,
        checkpoint_id: str | None = None,
        *,
        max_steps: int | None = None,
        from_start: bool = False,
    ) -> AsyncJob:
        """Continue the job; see `AsyncJobs.resume`."""
        return await self._engine.jobs.resume(
            self.job_id, checkpoint_id, max_steps=max_steps, from_start=from_start
        )

    async def delete(self) -> None:
        """Delete the job with its history, logs and checkpoints."""
        await self._engine.jobs.delete(self.job_id)

    async def checkpoints(self) -> list[Checkpoint]:
        """Return the job's checkpoints, ascending by step."""
        return [item async for item in self._engine.checkpoints.list(self.job_id)]

    async def metrics(self) -> MetricPoint:
        """Return the latest value of each metric."""
        return await self._engine.metrics.get(self.job_id)

    def history(
        self, *, after_step: int | None = None, max_points: int | None = None
    ) -> AsyncIterator[MetricPoint]:
        """Iterate over logged steps, ascending; see `AsyncMetrics.history`."""
        return self._engine.metrics.history(
            self.job_id, after_step=after_step, max_points=max_points
        )

    async def throughput(self) -> Throughput:
        """Return how fast the job trains."""
        return await self._engine.metrics.throughput(self.job_id)

    def stream_metrics(
        self,
        *,
        after_step: int | None = None,
        on_rewind: Callable[[int], object] | None = None,
    ) -> AsyncIterator[MetricPoint]:
        """Replay logged steps, then follow them live; see `AsyncMetrics.stream`."""
        return self._engine.metrics.stream(self.job_id, after_step=after_step, on_rewind=on_rewind)

    def logs(self) -> AsyncIterator[LogLine]:
        """Iterate over what the trainer printed, oldest first."""
        return self._engine.jobs.logs(self.job_id)

    def watch(self, *, after: str = "") -> AsyncIterator[JobEvent]:
        """Follow everything that happens to the job; see `AsyncJobs.watch`."""
        return self._engine.jobs.watch(self.job_id, after=after)


class AsyncJobs(AsyncResource):
    """Jobs: started, followed, stopped and resumed."""

    def __init__(self, link: AsyncLink, options: Options, engine: AsyncTrainingEngine) -> None:
        super().__init__(link, options)
        self._engine = engine

    def _job(self, record: JobRecord) -> AsyncJob:
        return AsyncJob(_engine=self._engine, **vars(record))

    async def _whole(self, plain: Plain) -> AsyncJob:
        """REST answers some calls with a few fields; fetch the rest."""
        if plain.get("created_at") is None:
            return await self.get(plain["job_id"])
        return self._job(read(JobRecord, plain))

    async def start(
        self,
        config: ConfigLike | None = None,
        *,
        config_id: str | None = None,
        dataset_path: str | None = None,
        val_dataset_path: str | None = None,
        name: str | None = None,
        execution: Execution | Mapping[str, Any] | None = None,
    ) -> AsyncJob:
        """Validate a configuration, store a job and queue it.

        Args:
            config: A dict, a TrainingConfig, the path of a YAML file, or YAML text.
            config_id: A stored configuration instead.
            dataset_path: Training data, as the service sees it: a path under an allowed root or
                `dataset://ID`. Wins over the configuration's.
            val_dataset_path: Validation data, likewise.
            name: A name to find it by.
            execution: Priority, processes, retries and the like.

        Raises:
            InvalidConfigError: The configuration has problems; every one is in `.problems`.
        """
        if (config is None) == (config_id is None):
            raise InvalidArgumentError(
                "a job starts from one configuration; give either config or config_id"
            )
        call = _calls.start_job(
            config=config_source(config) if config is not None else None,
            config_id=config_id,
            dataset_path=data_path("dataset_path", dataset_path),
            val_dataset_path=data_path("val_dataset_path", val_dataset_path),
            name=name,
            execution=present(to_plain(execution)) if execution is not None else None,
        )
        return await self._whole(await self._link.unary(call))

    async def get(self, job_id: str) -> AsyncJob:
        """Return one job.

        Raises:
            NotFoundError: There is none.
        """
        return self._job(await self._link.record(_calls.get_job(job_id)))

    async def find(self, reference: str) -> AsyncJob:
        """Return the job that an id, a name, or the beginning of an id means.

        Raises:
            NotFoundError: Nothing has this id, this name, or an id that begins so.
            InvalidArgumentError: Several ids begin so; `.code` is `ambiguous_job`, and the message
                lists the newest of them.
        """
        return await self.get(await self._job_id(reference))

    async def list(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[AsyncJob]:
        """Iterate over jobs, newest first, page by page; their `config` is left out.

        Args:
            status: Only jobs in this state.
            name: Only jobs that were given exactly this name.
            page_size: Jobs fetched at a time, 1 to 1000.
        """
        call = _calls.list_jobs(status=known_status(status), name=name, page_size=page_size)
        async for record in self._link.rows(call):
            yield self._job(record)

    async def page(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        page_size: int | None = None,
        page_token: str = "",
    ) -> Page[AsyncJob]:
        """Return one page of jobs, newest first; see `list`."""
        call = _calls.list_jobs(
            status=known_status(status), name=name, page_size=page_size, page_token=page_token
        )
        page = await self._link.page(call)
        return Page(tuple(map(self._job, page)), page.next_page_token)

    async def stop(self, job_id: str) -> AsyncJob:
        """Ask a job to save a checkpoint at the next step and stop; a queued one stops at once.

        Raises:
            StateForbidsError: It has ended.
        """
        return await self._whole(await self._link.unary(_calls.stop_job(job_id)))

    async def resume(
        self,
        job_id: str,
        checkpoint_id: str | None = None,
        *,
        max_steps: int | None = None,
        from_start: bool = False,
    ) -> AsyncJob:
        """Queue a new attempt of a job that has ended.

        Args:
            job_id: The job.
            checkpoint_id: Continue from this checkpoint instead of the newest; later ones and
                their history are cut.
            max_steps: Train to this step instead.
            from_start: Begin at step 0 instead, whatever was saved: history and checkpoints are
                cut. Not with `checkpoint_id`.

        Raises:
            StateForbidsError: It has not ended, or it succeeded and neither a larger `max_steps`
                nor an earlier checkpoint nor `from_start` is given.
        """
        call = _calls.resume_job(
            job_id,
            checkpoint_id=checkpoint_id,
            max_steps=max_steps,
            from_start=from_start or None,
        )
        return await self._whole(await self._link.unary(call))

    async def delete(self, job_id: str) -> None:
        """Delete a job that is not running, with its history, logs and checkpoints."""
        await self._link.unary(_calls.delete_job(job_id))

    async def stop_many(
        self, job_ids: Iterable[str] = (), *, status: JobStatus | str | None = None
    ) -> BulkResults:
        """Stop the jobs of a list, and all that are in a state; one failure stops no other."""
        return await self._each(self.stop, job_ids, status)

    async def delete_many(
        self, job_ids: Iterable[str] = (), *, status: JobStatus | str | None = None
    ) -> BulkResults:
        """Delete the jobs of a list, and all that are in a state; one failure stops no other."""
        return await self._each(self.delete, job_ids, status)

    async def _each(
        self,
        act: Callable[[str], Awaitable[object]],
        job_ids: Iterable[str],
        status: JobStatus | str | None,
    ) -> BulkResults:
        # The list is read to its end first: acting on its rows would shift its pages.
        chosen = [*job_ids]
        if status is not None:
            chosen += [job.job_id async for job in self.list(status=status)]
        results = []
        for job_id in dict.fromkeys(chosen):
            try:
                await act(job_id)
                results.append(BulkResult(job_id))
            except TrainingEngineError as error:
                results.append(BulkResult(job_id, error))
        return results

    async def wait(self, job_id: str, timeout: float | None = None) -> AsyncJob:
        """Wait until a job ends and return it; see `AsyncJob.wait`."""
        polling = Polling(job_id, timeout, self._options.reconnect_for)
        while True:
            try:
                job = await self.get(job_id)
            except TrainingEngineError as error:
                await asyncio.sleep(polling.delay_after_failure(error))
                continue
            if job.is_terminal:
                return job
            await asyncio.sleep(polling.delay_after_answer(job.status))

    def logs(self, job_id: str, *, page_size: int | None = None) -> AsyncIterator[LogLine]:
        """Iterate over what a job's trainer printed so far, oldest first."""
        return self._link.rows(_calls.list_logs(job_id, page_size=page_size))

    def watch(self, job_id: str, *, after: str = "") -> AsyncIterator[JobEvent]:
        """Replay what happened to a job, then follow it live, until it ends.

        Reconnects by itself, and hands out each event once. After a `rewound` event, forget points
        and checkpoints past its `to_step`: they are sent again.

        Args:
            job_id: The job.
            after: Cursor of the last event that need not come again; empty for all.
        """
        follower = EventFollower(self._options.reconnect_for, after)
        return self._link.follow(job_id, _calls.watch_job(job_id), follower)
