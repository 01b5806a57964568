"""The asyncio resource of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from training_engine import _calls
from training_engine._aio_job import AsyncJob
from training_engine._aio_methods import AsyncJobMethods
from training_engine._call import present
from training_engine._config_source import ConfigLike, config_source
from training_engine._finding import known_status
from training_engine._following import EventFollower
from training_engine._home import data_path
from training_engine._polling import Polling
from training_engine.comparison import Comparison
from training_engine.errors import InvalidArgumentError, NotFoundError, TrainingEngineError
from training_engine.records import (
    BulkResult,
    Execution,
    JobEvent,
    JobStatus,
    Page,
    to_plain,
)
from training_engine.report import SAMPLE_TOKENS, report_html

BulkResults = list[BulkResult]  # inside `AsyncJobs`, `list` is a method


class AsyncJobs(AsyncJobMethods):
    """Jobs: started, followed, stopped and resumed."""

    async def start(
        self,
        config: ConfigLike | None = None,
        *,
        config_id: str | None = None,
        dataset_path: str | None = None,
        val_dataset_path: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
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
            tags: Words to find it by, up to 20.
            notes: What to remember about it, up to 4096 bytes.
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
            tags=tags,
            notes=notes,
            execution=present(to_plain(execution)) if execution is not None else None,
        )
        return await self._whole(await self._link.unary(call))

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
        tags: Sequence[str] | None = None,
        search: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[AsyncJob]:
        """Iterate over jobs, newest first, page by page; their `config` is left out.

        Args:
            status: Only jobs in this state.
            name: Only jobs that were given exactly this name.
            tags: Only jobs that have all of these tags.
            search: Only jobs that have every word of this in their name, id, tags or notes, in
                upper or lower case.
            page_size: Jobs fetched at a time, 1 to 1000.
        """
        call = _calls.list_jobs(
            status=known_status(status), name=name, tags=tags, search=search, page_size=page_size
        )
        async for record in self._link.rows(call):
            yield self._job(record)

    async def page(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        search: str | None = None,
        page_size: int | None = None,
        page_token: str = "",
    ) -> Page[AsyncJob]:
        """Return one page of jobs, newest first; see `list`."""
        call = _calls.list_jobs(
            status=known_status(status),
            name=name,
            tags=tags,
            search=search,
            page_size=page_size,
            page_token=page_token,
        )
        page = await self._link.page(call)
        return Page(tuple(map(self._job, page)), page.next_page_token)

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

    async def compare(self, job_ids: Sequence[str]) -> Comparison:
        """Return jobs side by side: the fields in which they differ, best and last of each metric.

        Args:
            job_ids: Ids or names of up to 50 jobs; one that is named twice counts once.

        Raises:
            NotFoundError: One of the jobs is not there.
        """
        found = [await self.find(reference) for reference in job_ids]
        jobs = {job.job_id: job for job in found}
        call = _calls.get_series(job_ids=list(jobs), max_points=2)
        answer = await self._link.record(call)
        series = tuple(replace(each, x=(), y=()) for each in answer.series)
        return Comparison(tuple(jobs.values()), series)

    async def report(self, job_ids: Sequence[str], *, prompts: Sequence[str] = ()) -> str:
        """Return jobs as one HTML page that needs nothing else: no script, no network.

        It has curves, final numbers, differences, configurations, the facts of each run, and what
        its model made of `sample_prompts` at its first evaluation, half way, and at its last.

        Args:
            job_ids: Ids or names of up to 50 jobs.
            prompts: Texts that the best checkpoint of each job continues, always in the same way.

        Raises:
            NotFoundError: One of the jobs is not there.
        """
        compared = await self.compare(job_ids)
        ids = [job.job_id for job in compared.jobs]
        curves = await self._link.record(_calls.get_series(job_ids=ids))
        samples = {id: [await self._sample(id, prompt) for prompt in prompts] for id in ids}
        recorded = {
            job.job_id: [step async for step in self._engine.metrics.samples(job.job_id)]
            for job in compared.jobs
            if (job.config or {}).get("sample_prompts")
        }
        return report_html(compared, curves.series, samples, recorded)

    async def _sample(self, job_id: str, prompt: str) -> tuple[str, str]:
        """Return a prompt, and how a job's best checkpoint continues it."""
        checkpoints = self._engine.checkpoints
        try:
            best = await checkpoints.find(job_id)
        except NotFoundError as error:
            return prompt, str(error)
        pieces = checkpoints.generate(best.checkpoint_id, prompt, max_tokens=SAMPLE_TOKENS, seed=1)
        return prompt, "".join([piece async for piece in pieces])

    async def stop_many(
        self, job_ids: Iterable[str] = (), *, status: JobStatus | str | None = None
    ) -> BulkResults:
        """Stop the jobs of a list, and all that are in a state; one failure stops no other."""
        return await self._each(self.stop, job_ids, status)

    async def resume_many(
        self,
        job_ids: Iterable[str] = (),
        *,
        status: JobStatus | str | None = None,
        max_steps: int | None = None,
    ) -> BulkResults:
        """Resume the jobs of a list, and all that are in a state; one failure stops no other."""
        return await self._each(partial(self.resume, max_steps=max_steps), job_ids, status)

    async def update_many(
        self,
        job_ids: Iterable[str] = (),
        *,
        status: JobStatus | str | None = None,
        add_tags: Sequence[str] | None = None,
        remove_tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> BulkResults:
        """Change tags and notes of the jobs of a list, and of all that are in a state.

        One failure stops no other.
        """
        change = partial(self.update, add_tags=add_tags, remove_tags=remove_tags, notes=notes)
        return await self._each(change, job_ids, status)

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
        polling = Polling(f"job {job_id}", timeout, self._options.reconnect_for)
        while True:
            try:
                job = await self.get(job_id)
            except TrainingEngineError as error:
                await asyncio.sleep(polling.delay_after_failure(error))
                continue
            if job.is_terminal:
                return job
            await asyncio.sleep(polling.delay_after_answer(job.status))

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
