"""What is expected of the store, as dicts, beside the store itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
)

from job_store.attempts import AttemptStore
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection, Connection
from job_store.errors import (
    RequestIdReusedError,
)
from job_store.jobs import JobStore
from job_store.reconcile import ReconcileStore
from job_store.records import (
    FencingToken,
    JobError,
    JobStatus,
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


class DictOfStore(RuleBasedStateMachine):
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
