# Generated from _aio_resource.py by client/generate_sync.py; run: make sync
"""What the blocking resources of an engine share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training_engine._finding import chosen_job, is_job_id, lookups, no_such_job
from training_engine._job import Job
from training_engine._link import Link
from training_engine._options import Options
from training_engine.records import JobRecord, Plain, read

if TYPE_CHECKING:
    from training_engine.engine import TrainingEngine


class Resource:
    """What the resources share: the engine's connection."""

    def __init__(self, link: Link, options: Options) -> None:
        self._link = link
        self._options = options

    def _job_id(self, reference: str) -> str:
        """Return the id of the job that an id, a name or the beginning of an id means."""
        if is_job_id(reference):
            return reference
        for call in lookups(reference):
            job = chosen_job(reference, self._link.page(call))
            if job is not None:
                return job.job_id
        raise no_such_job(reference)


class JobResource(Resource):
    """A resource whose calls are answered with jobs."""

    def __init__(self, link: Link, options: Options, engine: TrainingEngine) -> None:
        super().__init__(link, options)
        self._engine = engine

    def _job(self, record: JobRecord) -> Job:
        return Job(_engine=self._engine, **vars(record))

    def _whole(self, plain: Plain) -> Job:
        """REST answers some calls with a few fields; fetch the rest."""
        if plain.get("created_at") is None:
            return self._engine.jobs.get(plain["job_id"])
        return self._job(read(JobRecord, plain))
