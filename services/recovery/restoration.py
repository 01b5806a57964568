"""Enters one job into Redis, with its metrics and output, which its attempts' folders hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifact_store import GuardedStore
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.records import Claimed
from job_store.restoring import RestoreStore
from recovery.planning import plan_job
from recovery.report import Finding
from training_worker.archive import PointArchive
from training_worker.journal import JobJournal
from training_worker.republish import republish_missing


class JobRestorer:
    """Enters jobs one by one; a job that is there already is left as it is."""

    def __init__(self, connection: Connection, artifacts: GuardedStore) -> None:
        self._records = RestoreStore(connection)
        self._attempts = AttemptStore(connection)
        self._artifacts = artifacts

    def restore(self, entry: Mapping[str, Any], remarks: tuple[str, ...]) -> Finding:
        """Enter the job of a journal's entry, and return what came of it.

        The recovery holds the job like a worker until all is published: if it is cut short, the
        next one enters the job again from the beginning.
        """
        plan = plan_job(self._artifacts, entry)
        job_id = plan.token.job_id
        points = 0
        if self._records.restore_job(job_id, plan.job):
            points = self._publish(plan.token, plan.resume_step)
            self._records.release_job(plan.token, plan.released)
            JobJournal(self._attempts, self._artifacts, job_id).record()
        return Finding(
            kind="job",
            id=job_id,
            name=entry["fields"]["name"],
            state=plan.released["status"],
            step=plan.checkpoints[-1].step if plan.checkpoints else 0,
            checkpoints=len(plan.checkpoints),
            points=points,
            remarks=(*remarks, *plan.remarks),
        )

    def _publish(self, token: Any, resume_step: int) -> int:
        """Publish what the attempts logged and printed; return the number of points."""
        archive = PointArchive(self._attempts, self._artifacts, token)
        published = 0

        def count(points: int) -> None:
            nonlocal published
            published += points
            archive.published(points)

        claimed = Claimed(self._attempts.get(token.job_id), token, None)
        republish_missing(self._attempts, self._artifacts, claimed, resume_step, count)
        return published
