"""The store's Python face does what a plain dict would do: random calls, on a real server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from job_store.attempts import AttemptStore
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection, Connection
from job_store.errors import (
    FencedError,
    InvalidPageTokenError,
    NotFoundError,
    RequestIdReusedError,
    TransitionRefusedError,
)
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.jobs import JobStore
from job_store.reconcile import ReconcileStore
from job_store.records import (
    CheckpointRecord,
    FencingToken,
    JobError,
    JobStatus,
    NewJob,
    Outcome,
    OutcomeKind,
    Request,
)

MAX_STEPS = 10
NAMES = ("", "tiny", "tiny-2", "large")
REQUEST_IDS = ("a", "b")
LOST = JobError("WORKER_LOST", "gone")
_examples = itertools.count()

some_name = st.sampled_from(NAMES)
maybe_request = st.sampled_from((None, None, None, *REQUEST_IDS))
any_place = st.integers(0, 9)
page = st.integers(1, 3)


@dataclass
class Job:
    """What is expected of a job."""

    name: str
    status: JobStatus = JobStatus.QUEUED
    attempt: int = 1
    step: int = 0
    checkpoints: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    is_fresh: bool = False
    token: FencingToken | None = None
    old_tokens: list[FencingToken] = field(default_factory=list)

    @property
    def is_held(self) -> bool:
        return self.status in (JobStatus.RUNNING, JobStatus.STOPPING)

    def end(self, status: JobStatus) -> None:
        """The worker has the job no more."""
        if self.token:
            self.old_tokens.append(self.token)
        self.status, self.token = status, None

    def wait(self, step: int) -> None:
        """The next attempt waits, to continue after this step."""
        self.end(JobStatus.QUEUED)
        self.attempt += 1
        self.step = step

    @property
    def newest(self) -> int:
        return max(self.checkpoints.values(), default=0)


@dataclass(frozen=True)
class Place:
    """How far a reader is in a list: what its next page comes after."""

    kind: str
    """`config`, `dataset`, or `checkpoint` of `job_id`."""
    job_id: str
    after: str | int
    """The id, or the step of a checkpoint, that its last page ended with."""
    token: str


class StoreAsDict(RuleBasedStateMachine):
    """Each call is made on the store and on `jobs` and `items`, which are dicts."""

    url: str
    loop: asyncio.Runner

    @initialize()
    def open(self) -> None:
        """An empty store: each example has keys of its own."""
        prefix = f"example{next(_examples)}:"
        self.db, self.worker_db = (
            AsyncConnection.open(self.url, prefix),
            Connection.open(self.url, prefix),
        )
        self.store, self.attempts = JobStore(self.db), AttemptStore(self.worker_db)
        self.reconciler = ReconcileStore(self.db)
        self.config_store, self.dataset_store = ConfigStore(self.db), DatasetStore(self.db)
        self.jobs: dict[str, Job] = {}
        self.items: dict[str, dict[str, str]] = {"config": {}, "dataset": {}}
        self.answers: dict[str, tuple[str, Any]] = {}
        """By request_id: what was asked for, and what came of it."""
        self.places: list[Place] = []
        """Lists that somebody reads page by page, while others change them."""

    def teardown(self) -> None:
        """Close the connections of the example."""
        if hasattr(self, "db"):
            self.run(self.db.close())
            self.worker_db.close()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(call)

    def asked(self, request_id: str | None, what: str) -> Request | None:
        return None if request_id is None else Request(request_id, what)

    def again(self, request_id: str | None, what: str, call: Callable[[], Any]) -> bool:
        """Whether the request was answered before; then `call` must get the first answer."""
        if request_id is None or request_id not in self.answers:
            return False
        first, answer = self.answers[request_id]
        if first != what:
            with pytest.raises(RequestIdReusedError):
                call()
        else:
            got = call()
            assert answer is None or got == answer
        return True

    def remember(self, request_id: str | None, what: str, answer: Any) -> None:
        if request_id is not None:
            self.answers[request_id] = (what, answer)

    def some_job(self, place: int) -> str:
        return sorted(self.jobs)[place % len(self.jobs)]

    def refused(self, error: type[Exception], call: Callable[[], Any]) -> None:
        with pytest.raises(error):
            call()

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

    # Configurations and datasets

    @rule(kind=st.sampled_from(["config", "dataset"]), name=some_name, request_id=maybe_request)
    def store_item(self, kind: str, name: str, request_id: str | None) -> None:
        what = f"{kind} {name}"
        request = self.asked(request_id, what)

        def made() -> str:
            if kind == "config":
                return str(self.run(self.config_store.create(name, "{}", request)).config_id)
            created = self.dataset_store.create(name, 1, "ab", "data", request=request)
            return str(self.run(created).dataset_id)

        first = self.answers.get(request_id or "", ("", None))
        if first[0] == what and kind == "dataset" and first[1] not in self.items[kind]:
            self.refused(NotFoundError, made)  # it was deleted since
            return
        if self.again(request_id, what, made):
            return
        id = made()
        self.items[kind][id] = name
        self.remember(request_id, what, id)

    @precondition(lambda self: any(self.items.values()))
    @rule(place=any_place)
    def delete_item(self, place: int) -> None:
        kind = "config" if self.items["config"] else "dataset"
        id = sorted(self.items[kind])[place % len(self.items[kind])]
        store = self.catalog(kind)
        self.run(store.delete(id))
        del self.items[kind][id]
        self.refused(NotFoundError, lambda: self.run(store.get(id)))
        self.refused(NotFoundError, lambda: self.run(store.delete(id)))

    def catalog(self, kind: str) -> Any:
        return self.config_store if kind == "config" else self.dataset_store

    # Pages of lists that change meanwhile

    @rule(kind=st.sampled_from(["config", "dataset", "checkpoint"]), place=any_place, size=page)
    def open_list(self, kind: str, place: int, size: int) -> None:
        if kind == "checkpoint" and not self.jobs:
            return
        job_id = self.some_job(place) if kind == "checkpoint" else ""
        self.turn_to(kind, job_id, size)

    @precondition(lambda self: self.places)
    @rule(place=any_place, size=page)
    def turn_page(self, place: int, size: int) -> None:
        at = self.places.pop(place % len(self.places))
        if at.job_id and at.job_id not in self.jobs:
            read = self.store.list_checkpoints(at.job_id, size, at.token)
            self.refused(NotFoundError, lambda: self.run(read))
            return
        self.turn_to(at.kind, at.job_id, size, at)

    @precondition(lambda self: self.places)
    @rule(place=any_place)
    def mistake_a_token(self, place: int) -> None:
        at = self.places[place % len(self.places)]
        for kind in {"config", "dataset"} - {at.kind}:
            read = self.catalog(kind).list(1, at.token)
            self.refused(InvalidPageTokenError, lambda read=read: self.run(read))
        for job_id in [*self.jobs][:2]:
            if job_id != at.job_id:
                pages = self.store.list_checkpoints(job_id, 1, at.token)
                self.refused(InvalidPageTokenError, lambda pages=pages: self.run(pages))

    def turn_to(self, kind: str, job_id: str, size: int, at: Place | None = None) -> None:
        """Read the next page of a list, or its first."""
        token = at.token if at else ""
        if kind == "checkpoint":
            page = self.run(self.store.list_checkpoints(job_id, size, token))
            read: list[Any] = [one.step for one in page.checkpoints]
            steps = sorted(self.jobs[job_id].checkpoints.values())
            left: list[Any] = [step for step in steps if not at or step > at.after]
        else:
            page = self.run(self.catalog(kind).list(size, token))
            read = [getattr(one, f"{kind}_id") for one in page.records]
            ids = sorted(self.items[kind], reverse=True)
            left = [id for id in ids if not at or id < at.after]
        assert read == left[:size]
        assert bool(page.next_page_token) == (len(left) > size)
        if page.next_page_token:
            self.places.append(Place(kind, job_id, read[-1], page.next_page_token))

    # What is read

    @invariant()
    def lists_are_those_of_the_dict(self) -> None:
        if not hasattr(self, "jobs"):
            return
        expected = sorted(self.jobs, reverse=True)
        assert self.listed() == expected
        for status in JobStatus:
            chosen = [id for id in expected if self.jobs[id].status is status]
            assert self.listed(status) == chosen
            assert self.run(self.store.count(status)) == len(chosen)
        for kind in self.items:
            page = self.run(self.catalog(kind).list())
            ids = [getattr(one, f"{kind}_id") for one in page.records]
            assert ids == sorted(self.items[kind], reverse=True)

    def listed(self, status: JobStatus | None = None, **options: Any) -> list[str]:
        """All ids, read in pages of two."""
        ids, token = list[str](), ""
        while True:
            page = self.run(self.store.list(status, 2, token, **options))
            ids += [job.job_id for job in page.jobs]
            token = page.next_page_token
            if not token:
                return ids

    @rule(name=some_name, prefix=any_place)
    def search(self, name: str, prefix: int) -> None:
        if name:
            named = [id for id in sorted(self.jobs, reverse=True) if self.jobs[id].name == name]
            assert self.listed(name=name) == named
        if self.jobs:
            some = self.some_job(prefix)[: 20 + prefix % 10]
            found = [id for id in sorted(self.jobs, reverse=True) if id.startswith(some)]
            assert self.listed(id_prefix=some) == found

    @precondition(lambda self: self.jobs)
    @rule(place=any_place)
    def read(self, place: int) -> None:
        job_id = self.some_job(place)
        job, record = self.jobs[job_id], self.run(self.store.get(job_id))
        assert (record.status, record.attempt, record.name) == (job.status, job.attempt, job.name)
        assert record.consecutive_failures == job.failures
        assert bool(record.completed_at) == (not job.is_held and record.status.is_terminal)
        page = self.run(self.store.list_checkpoints(job_id))
        found = {one.checkpoint_id: one.step for one in page.checkpoints}
        assert found == job.checkpoints
        assert list(found.values()) == sorted(found.values())


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


def test_the_store_does_what_a_dict_would_do(redis_url: str) -> None:
    with asyncio.Runner() as loop:
        machine = type("Machine", (StoreAsDict,), {"url": redis_url, "loop": loop})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
