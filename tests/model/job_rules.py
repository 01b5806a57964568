"""Random calls about jobs, and what they do to the dicts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)
from model.dict_of_store import (
    LOST,
    MAX_STEPS,
    DictOfStore,
    Job,
    any_place,
    maybe_request,
    some_name,
)

from job_store.errors import (
    FencedError,
    NotFoundError,
    TransitionRefusedError,
)
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.records import (
    CheckpointRecord,
    FencingToken,
    JobStatus,
    NewJob,
    Outcome,
    OutcomeKind,
)


class JobRules(DictOfStore):
    """Calls about jobs and their checkpoints, by people and by workers."""

    # Jobs

    @rule(name=some_name, request_id=maybe_request)
    def start(self, name: str, request_id: str | None) -> None:
        what = f"start {name}"
        new = NewJob("{}", MAX_STEPS, "/data", name=name)

        def call() -> str:
            return str(self.run(self.store.create(new, self.asked(request_id, what))).job_id)

        if self.again(request_id, what, call):
            return
        job_id = call()
        record = self.run(self.store.get(job_id))
        taken = {job.name for job in self.jobs.values()}
        assert (record.name == name) == (not name or name not in taken)
        assert not record.name or record.name not in taken
        assert record.name.startswith(name)
        assert bool(record.warnings) == (record.name != name)
        assert not self.jobs or job_id > max(self.jobs)
        self.jobs[job_id] = Job(record.name)
        self.remember(request_id, what, job_id)

    @precondition(lambda self: self.jobs)
    @rule(place=any_place, request_id=maybe_request)
    def stop(self, place: int, request_id: str | None) -> None:
        job_id = self.some_job(place)
        job, what = self.jobs[job_id], f"stop {job_id}"

        def call() -> Any:
            record = self.run(self.store.request_stop(job_id, self.asked(request_id, what)))
            return record.status, record.attempt

        if self.again(request_id, what, call):
            return
        if job.status not in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.STOPPING):
            self.refused(TransitionRefusedError, call)
            return
        if job.status is JobStatus.QUEUED:
            job.end(JobStatus.STOPPED)
        else:
            job.status = JobStatus.STOPPING
        self.remember(request_id, what, call())
        if request_id:
            assert self.answers[request_id][1] == (job.status, job.attempt)

    @precondition(lambda self: self.jobs)
    @rule(
        place=any_place,
        earlier=st.none() | any_place,
        from_start=st.booleans(),
        request_id=maybe_request,
    )
    def resume(
        self, place: int, earlier: int | None, from_start: bool, request_id: str | None
    ) -> None:
        job_id = self.some_job(place)
        job = self.jobs[job_id]
        ids = sorted(job.checkpoints)
        id = ids[earlier % len(ids)] if ids and earlier is not None and not from_start else None
        what = f"resume {job_id} {id} {from_start}"

        def call() -> Any:
            options: dict[str, Any] = {"checkpoint_id": id, "from_start": from_start}
            request = self.asked(request_id, what)
            record = self.run(self.store.resume(job_id, request=request, **options))
            return record.status, record.attempt, record.current_step

        if self.again(request_id, what, call):
            return
        step = 0 if from_start else job.checkpoints[id] if id else job.newest
        is_done = job.status is JobStatus.SUCCEEDED and not from_start and step == job.newest
        if job.status is JobStatus.QUEUED or job.is_held or is_done:
            self.refused(TransitionRefusedError, call)
            return
        answer = call()
        job.wait(step)
        job.failures = 0
        job.checkpoints = {id: at for id, at in job.checkpoints.items() if at <= step}
        assert answer == (JobStatus.QUEUED, job.attempt, step)
        self.remember(request_id, what, answer)

    @precondition(lambda self: self.jobs)
    @rule(place=any_place, request_id=maybe_request)
    def delete(self, place: int, request_id: str | None) -> None:
        job_id = self.some_job(place)
        what = f"delete {job_id}"

        def call() -> None:
            self.run(self.store.delete(job_id, self.asked(request_id, what)))

        if self.again(request_id, what, call):
            return
        if self.jobs[job_id].is_held:
            self.refused(TransitionRefusedError, call)
            return
        call()
        gone = self.jobs.pop(job_id)
        self.remember(request_id, what, None)
        self.refused(NotFoundError, lambda: self.run(self.store.get(job_id)))
        self.refused(NotFoundError, lambda: self.run(self.store.request_stop(job_id)))
        for id in gone.checkpoints:
            self.refused(NotFoundError, lambda id=id: self.run(self.store.get_checkpoint(id)))
        assert self.attempts.claim(job_id, gone.attempt, "worker") is None

    # Workers

    @precondition(lambda self: self.jobs)
    @rule(place=any_place, late=st.integers(-1, 1))
    def claim(self, place: int, late: int) -> None:
        job_id = self.some_job(place)
        job = self.jobs[job_id]
        claimed = self.attempts.claim(job_id, job.attempt + late, "worker")
        if late or job.status is not JobStatus.QUEUED:
            assert claimed is None
            return
        assert claimed is not None
        job.status, job.token, job.is_fresh = JobStatus.RUNNING, claimed.token, False
        job.step = job.newest
        resumed = claimed.resume_from.step if claimed.resume_from else 0
        assert (resumed, claimed.record.current_step) == (job.step, job.step)

    @precondition(lambda self: any(job.token for job in self.jobs.values()))
    @rule(place=any_place, steps=st.integers(1, 3), score=st.none() | st.floats(0, 1))
    def train_and_save(self, place: int, steps: int, score: float | None) -> None:
        held = [job for job in self.jobs.values() if job.token]
        job = held[place % len(held)]
        assert job.token
        last = job.step + steps
        self.attempts.confirm_start(job.token, max(0, self.start_of(job.token)))
        points = [MetricPoint(n, {"loss": 1 / n}, n) for n in range(job.step + 1, last + 1)]
        signals = self.attempts.publish_metrics(job.token, points)
        assert signals.stop_requested == (job.status is JobStatus.STOPPING)
        record = _checkpoint(job.token, last, score)
        self.attempts.register_checkpoint(job.token, record)
        job.checkpoints[record.checkpoint_id] = job.step = last
        job.is_fresh, job.failures = True, 0

    def start_of(self, token: FencingToken) -> int:
        return self.attempts.attempts(token.job_id)[-1].start_step

    @precondition(lambda self: any(job.token for job in self.jobs.values()))
    @rule(place=any_place, kind=st.sampled_from([*OutcomeKind, "lost"]))
    def finish(self, place: int, kind: Any) -> None:
        held = [(id, job) for id, job in self.jobs.items() if job.token]
        job_id, job = held[place % len(held)]
        token = job.token
        assert token

        def call() -> Any:
            if kind == "lost":
                lose = self.reconciler.declare_lost
                return self.run(lose(job_id, token.attempt, token.claim_id, LOST))
            return self.attempts.finish(token, Outcome(kind, LOST))

        if kind is OutcomeKind.STOPPED and job.status is JobStatus.RUNNING:
            self.refused(TransitionRefusedError, call)
            return
        record = call()
        self.expect_end(job, kind)
        assert (record.status, record.attempt) == (job.status, job.attempt)

    def expect_end(self, job: Job, kind: Any) -> None:
        if kind in (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED):
            job.end(JobStatus(kind.value))
        elif job.status is JobStatus.STOPPING:
            job.end(JobStatus.STOPPED)
        elif kind is OutcomeKind.HANDED_BACK:
            job.wait(job.step)
        else:
            job.failures += 0 if job.is_fresh else 1
            if job.failures > 3:
                job.end(JobStatus.FAILED)
            else:
                job.wait(job.step)

    @precondition(lambda self: any(job.old_tokens for job in self.jobs.values()))
    @rule(place=any_place)
    def come_back_late(self, place: int) -> None:
        old = [token for job in self.jobs.values() for token in job.old_tokens]
        token = old[place % len(old)]
        self.refused(FencedError, lambda: self.attempts.renew_lease(token))
        saved = _checkpoint(token, 1, 0.0)
        self.refused(FencedError, lambda: self.attempts.register_checkpoint(token, saved))

    # Checkpoints

    @precondition(lambda self: any(job.checkpoints for job in self.jobs.values()))
    @rule(place=any_place)
    def delete_checkpoint(self, place: int) -> None:
        owners = {id: job for job in self.jobs.values() for id in job.checkpoints}
        id = sorted(owners)[place % len(owners)]
        job = owners[id]

        def call() -> None:
            self.run(self.store.delete_checkpoint(id))

        is_next = job.status is JobStatus.QUEUED and job.checkpoints[id] == job.newest
        if job.is_held or is_next:
            self.refused(TransitionRefusedError, call)
            return
        call()
        del job.checkpoints[id]
        self.refused(NotFoundError, lambda: self.run(self.store.get_checkpoint(id)))


def _checkpoint(token: FencingToken, step: int, score: float | None) -> CheckpointRecord:
    return CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=1.0,
        size_bytes=1,
        sha256="ab" * 32,
        artifact="file",
        created_at=0,
        best_score=score,
        metrics={},
    )
