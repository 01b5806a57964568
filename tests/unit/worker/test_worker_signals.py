"""A signal ends a worker that waits, whatever it does at that moment."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rq.exceptions import StopRequested
from rq.worker.base import WorkerStatus

import training_worker.artifacts
from job_store.connection import Connection
from training_worker.artifacts import ArtifactGate
from training_worker.attempt_runner import AttemptRunner
from training_worker.worker import TrainingWorker


@pytest.fixture
def worker(redis_url: str) -> Iterator[TrainingWorker]:
    """One behind a job, which listens to signals as in RQ's loop."""
    made: Any = TrainingWorker.__new__(TrainingWorker)
    made._prompt = Connection.open(redis_url)
    made.name, made.log = "worker", logging.getLogger("worker")
    made._state, made._stop_requested = WorkerStatus.BUSY, False
    made._runner = AttemptRunner.__new__(AttemptRunner)
    made._runner._watch, made.scheduler, made._leaving_since = None, None, 0.0
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    made._install_signal_handlers()
    yield made
    for number, handler in before:
        signal.signal(number, handler)
    made._prompt.close()


def test_one_that_comes_just_behind_a_job_is_not_lost(worker: TrainingWorker) -> None:
    """RQ's loop has asked whether there was one; the wait for a message asks no more."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert worker._stop_requested
    with pytest.raises(StopRequested):
        worker.dequeue_job_and_maintain_ttl(1)


def test_one_that_comes_while_the_store_is_looked_at_is_not_lost(
    worker: TrainingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training_worker.artifacts, "recognise_artifacts", look)
    gate: Callable[..., Any] = ArtifactGate.__new__
    worker._gate = gate(ArtifactGate)
    worker._gate._store = worker._gate._records = None  # type: ignore[assignment]
    with pytest.raises(StopRequested):
        worker.dequeue_job_and_maintain_ttl(1)
