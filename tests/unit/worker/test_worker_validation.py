"""Stops that land in the middle of a validation: its step is in the history once, and whole."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
import torch
from training_site import Site, comparable, connected

from job_store.events import MetricsEvent
from job_store.jobs import JobStore
from job_store.records import Execution, JobStatus, Phase
from job_store.streams import JobFeeds

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
MIDDLE, LAST = 6, 12
"""Steps with a validation. Nothing but a stop saves before the last one."""


@pytest.fixture(scope="module")
def config(site: Site) -> dict[str, Any]:
    """A validation that takes a second or more, so that signals land within it."""
    long = site.text.with_name("validation.txt")
    long.write_text(site.text.read_text() * 12)
    return {
        "max_steps": LAST,
        "eval_steps": MIDDLE,
        "eval_batches": 0,
        "save_steps": 100,
        "val_dataset_path": str(long),
    }


@pytest.fixture(scope="module")
def undisturbed(
    site: Site, config: dict[str, Any]
) -> tuple[list[tuple[Any, ...]], dict[str, torch.Tensor]]:
    site.worker()
    job_id = site.submit(**config)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    history = site.history(job_id)
    assert [step for step, values in history if "val_loss" in values] == [MIDDLE, LAST]
    return comparable(history), site.weights(job_id)


def test_a_validation_shows_how_far_it_is_and_one_that_hangs_is_a_stall(
    site: Site, config: dict[str, Any]
) -> None:
    worker = site.worker()
    execution = Execution(stall_timeout_seconds=3.0, max_retries=0)
    job_id = site.submit(execution, **config)
    wait_for_validation(site, job_id, MIDDLE)
    seen = site.wait_for(lambda: site.job(job_id).phase_progress.done and site.job(job_id))
    assert 0 < seen.phase_progress.done <= seen.phase_progress.total
    # Half a validation and another are to come, and they alone take a second and more.
    assert seen.eta_seconds is not None
    assert seen.eta_seconds > 0.3
    os.kill(site.horse(worker), signal.SIGSTOP)
    record = site.wait(job_id, *END)
    assert record.error is not None
    assert record.error.reason == "STALLED"
    assert record.error.message == f"no batch of the validation at step {MIDDLE} for 3 s"


def wait_for_validation(site: Site, job_id: str, step: int) -> None:
    """Until the current attempt of the job is in its validation after this step."""

    def validates() -> bool:
        job = site.job(job_id)
        return (job.status, job.phase, job.current_step) == (
            JobStatus.RUNNING, Phase.VALIDATING, step
        )  # fmt: skip

    site.wait_for(validates)


def hand_back_within_validation(site: Site, job_id: str) -> None:
    """SIGTERM to the worker in the first validation; nothing of its step is known then."""
    worker = site.worker()
    wait_for_validation(site, job_id, MIDDLE)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert site.job(job_id).status is JobStatus.QUEUED
    assert site.history(job_id)[-1][0] == MIDDLE - 1
    assert site.store.checkpoints(job_id)[-1].step == MIDDLE
    site.send(job_id)


def resume(site: Site, job_id: str) -> None:
    """As ResumeJob does it, and the queue."""

    async def run() -> None:
        async with connected(site.url) as db:
            await JobStore(db).resume(job_id)

    asyncio.run(run())
    site.send(job_id)


def watched_steps(site: Site, job_id: str) -> list[int]:
    """The steps that a reader of the job's stream sees, from its beginning to its end."""

    async def run() -> list[int]:
        async with connected(site.url) as db:
            feeds = JobFeeds(db)
            events = [item.event async for item in feeds.watch(job_id, logs=False)]
            await feeds.close()
            return [event.step for event in events if isinstance(event, MetricsEvent)]

    return asyncio.run(run())


def assert_undisturbed(site: Site, job_id: str, undisturbed: Any) -> None:
    history, weights = undisturbed
    assert comparable(site.history(job_id)) == history
    assert watched_steps(site, job_id) == list(range(1, LAST + 1))
    found = site.weights(job_id)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_handed_back_twice_within_it_and_killed_right_after(
    site: Site, config: dict[str, Any], undisturbed: Any
) -> None:
    job_id = site.submit(**config)
    hand_back_within_validation(site, job_id)
    hand_back_within_validation(site, job_id)  # resumes with the same validation
    assert [(c.step, c.attempt) for c in site.store.checkpoints(job_id)] == [(MIDDLE, 2)]
    worker = site.worker()
    site.wait_for(lambda: [s for s, _ in site.history(job_id) if s == MIDDLE])
    os.kill(site.horse(worker), signal.SIGKILL)
    assert site.wait(job_id, JobStatus.QUEUED, *END).attempt == 4
    site.send(job_id)
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    assert [a.start_step for a in site.store.attempts(job_id)] == [0, MIDDLE, MIDDLE, MIDDLE]
    assert_undisturbed(site, job_id, undisturbed)


def test_stopped_within_each_validation_and_resumed(
    site: Site, config: dict[str, Any], undisturbed: Any
) -> None:
    site.worker()
    job_id = site.submit(**config)
    for step in (MIDDLE, LAST):
        wait_for_validation(site, job_id, step)
        site.stop(job_id)
        record = site.wait(job_id, *END)
        assert (record.status, record.current_step) == (JobStatus.STOPPED, step)
        assert site.history(job_id)[-1][0] == step - 1
        resume(site, job_id)
    record = site.wait(job_id, *END)
    assert (record.status, record.attempt) == (JobStatus.SUCCEEDED, 3), site.logs()
    assert [a.start_step for a in site.store.attempts(job_id)] == [0, MIDDLE, LAST]
    assert [c.step for c in site.store.checkpoints(job_id)] == [MIDDLE, LAST]
    assert_undisturbed(site, job_id, undisturbed)


def test_a_job_that_stops_early_has_succeeded_and_says_why(site: Site) -> None:
    site.worker()
    rule = {"patience": 1, "min_delta": 1e9}
    job_id = site.submit(max_steps=50, eval_steps=2, eval_batches=1, early_stopping=rule)
    job = site.wait(job_id, *END)
    assert (job.status, job.current_step) == (JobStatus.SUCCEEDED, 4), site.logs()
    assert job.message.startswith("ended early: val_loss was ")
    assert job.message.endswith(" at step 2 and did not improve in 1 measurements since")
