"""What the job store's tests share: all stores, and the shortest way to a job in any state."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.attempts import AttemptStore
from job_store.connection import AsyncConnection, Connection
from job_store.history import HistoryStore
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.jobs import JobStore
from job_store.reconcile import ReconcileStore
from job_store.records import (
    CheckpointRecord,
    Execution,
    FencingToken,
    JobError,
    JobRecord,
    JobStatus,
    NewJob,
    Outcome,
    OutcomeKind,
)
from job_store.sweeps import SweepStore

LOST = JobError("WORKER_LOST", "the worker did not renew its lease")


def new_job(max_steps: int = 100, max_retries: int = 3, name: str = "tiny") -> NewJob:
    """A job to create."""
    return NewJob(
        config_document=f'{{"max_steps": {max_steps}}}',
        max_steps=max_steps,
        dataset_path="/data/text.txt",
        name=name,
        execution=Execution(max_retries=max_retries, stop_timeout_seconds=30.0),
        warnings=("checkpoint_dir is ignored",),
    )


def points(first: int, last: int, offset: float = 0.0) -> list[MetricPoint]:
    """A point a step, both ends included; the loss is 1 / step + offset."""
    return [
        MetricPoint(step, {"loss": 1 / step + offset, "lr": step * 1e-4}, 1_700_000_000_000 + step)
        for step in range(first, last + 1)
    ]


def checkpoint(token: FencingToken, step: int, score: float | None = None) -> CheckpointRecord:
    """A checkpoint of this attempt, not registered yet."""
    return CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=0.1 + 1 / 3,
        size_bytes=1234,
        sha256="ab" * 32,
        artifact=f"jobs/{token.job_id}/attempts/{token.attempt}-{token.claim_id}/{step}.pt",
        created_at=0,
        best_score=score,
        metrics={"val_loss": 0.1 + 0.2},
    )


class Bench:
    """All stores on one database."""

    def __init__(self, connection: AsyncConnection, worker: Connection) -> None:
        self.connection = connection
        self.jobs = JobStore(connection)
        self.reconciler = ReconcileStore(connection)
        self.sweeps = SweepStore(connection)
        self.history = HistoryStore(connection)
        self.worker = worker
        self.attempts = AttemptStore(worker)

    def claim(self, job: JobRecord) -> FencingToken:
        """Claim the job's current attempt."""
        claimed = self.attempts.claim(job.job_id, job.attempt, "worker-1")
        assert claimed is not None
        return claimed.token

    def checkpoint(
        self, token: FencingToken, step: int, score: float | None = None
    ) -> CheckpointRecord:
        """Register a checkpoint at this step."""
        record = checkpoint(token, step, score)
        self.attempts.register_checkpoint(token, record)
        return record

    async def running(self, **options: int) -> tuple[JobRecord, FencingToken]:
        """A RUNNING job and the token of its attempt."""
        job = await self.jobs.create(new_job(**options))
        token = self.claim(job)
        return await self.jobs.get(job.job_id), token

    async def in_state(
        self, status: JobStatus, checkpoints: Sequence[int] = ()
    ) -> tuple[JobRecord, FencingToken | None]:
        """A job in this state, with checkpoints at these steps where it has run."""
        if status is JobStatus.QUEUED:
            return await self.jobs.create(new_job()), None
        job, token = await self.running()
        for step in checkpoints:
            self.attempts.publish_metrics(token, points(max(1, step - 2), step))
            self.checkpoint(token, step)
        if status in (JobStatus.STOPPING, JobStatus.STOPPED):
            await self.jobs.request_stop(job.job_id)
        ending = {
            JobStatus.STOPPED: Outcome(OutcomeKind.STOPPED),
            JobStatus.SUCCEEDED: Outcome(OutcomeKind.SUCCEEDED),
            JobStatus.FAILED: Outcome(OutcomeKind.FAILED, JobError("NON_FINITE_LOSS", "loss")),
        }.get(status)
        if ending is not None:
            self.attempts.finish(token, ending)
        return await self.jobs.get(job.job_id), token
