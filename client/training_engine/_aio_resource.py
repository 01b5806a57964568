"""What the asyncio resources of an engine share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training_engine._aio_job import AsyncJob
from training_engine._aio_link import AsyncLink
from training_engine._finding import chosen_job, is_job_id, lookups, no_such_job
from training_engine._options import Options
from training_engine.records import JobRecord, Plain, read

if TYPE_CHECKING:
    from training_engine.aio import AsyncTrainingEngine


class AsyncResource:
    """What the resources share: the engine's connection."""

    def __init__(self, link: AsyncLink, options: Options) -> None:
        self._link = link
        self._options = options

    async def _job_id(self, reference: str) -> str:
        """Return the id of the job that an id, a name or the beginning of an id means."""
        if is_job_id(reference):
            return reference
        for call in lookups(reference):
            job = chosen_job(reference, await self._link.page(call))
            if job is not None:
                return job.job_id
        raise no_such_job(reference)


class AsyncJobResource(AsyncResource):
    """A resource whose calls are answered with jobs."""

    def __init__(self, link: AsyncLink, options: Options, engine: AsyncTrainingEngine) -> None:
        super().__init__(link, options)
        self._engine = engine

    def _job(self, record: JobRecord) -> AsyncJob:
        return AsyncJob(_engine=self._engine, **vars(record))

    async def _whole(self, plain: Plain) -> AsyncJob:
        """REST answers some calls with a few fields; fetch the rest."""
        if plain.get("created_at") is None:
            return await self._engine.jobs.get(plain["job_id"])
        return self._job(read(JobRecord, plain))
