"""Real worker processes on a real server: jobs are trained once, and survive what is killed."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import torch
from rq import Queue
from rq.serializers import JSONSerializer
from training_site import TINY, Site, comparable

from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.training.data.cache import cache_directory
from job_store.records import Execution, JobStatus

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
RUN: dict[str, Any] = {"max_steps": 240, "save_steps": 40, "eval_steps": 100}
RUN |= {"sample_prompts": ["the quick", "line 7"], "sample_tokens": 12}
# From step 40 on, so that the row of 100 is cut by every kill.
ROW = {"when": "above", "metric": "tokens_seen", "value": 5000.0, "points": 100}
RUN |= {"alerts": [ROW, {"when": "finished"}]}
Undisturbed = tuple[list[tuple[Any, ...]], dict[str, torch.Tensor], list[tuple[Any, ...]]]
PACE_SECONDS = 0.015
"""A fast machine does not end a run at this pace before somebody gets in its way."""
LONG: dict[str, Any] = {"max_steps": 100_000, "save_steps": 20, "eval_steps": 100_000}


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Undisturbed:
    """History, weights and samples of a run that nothing happened to; what follows is slower."""
    site.worker()
    site.pace.set(0)
    job_id = site.submit(**RUN)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    site.pace.set(PACE_SECONDS)
    samples = site.samples(job_id)
    assert [step for step, _ in samples] == [100, 200, 240]
    assert all(len(texts) == 2 for _, texts in samples)
    return comparable(site.history(job_id)), site.weights(job_id), samples


def assert_equal_to(site: Site, job_id: str, undisturbed: Undisturbed) -> None:
    history, weights, samples = undisturbed
    assert site.samples(job_id) == samples
    assert site.alerts(job_id) == [(0, 139), (1, 240)]
    assert comparable(site.history(job_id)) == history
    found = site.weights(job_id)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_job_is_trained_and_a_duplicate_message_changes_nothing(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(send=3)
    record = site.wait(job_id, *END)
    assert (record.status, record.current_step, record.attempt) == (JobStatus.SUCCEEDED, 12, 1)
    history = site.history(job_id)
    assert [step for step, _ in history] == list(range(1, 13))
    assert history[-1][1]["loss"] < history[0][1]["loss"]
    assert [step for step, values in history if "val_loss" in values] == [6, 12]
    assert [c.step for c in site.store.checkpoints(job_id)] == [5, 10, 12]
    second = site.submit()
    assert site.wait(second, *END).status is JobStatus.SUCCEEDED
    assert len(site.store.attempts(job_id)) == 1
    client = redis.Redis.from_url(site.url)
    leftovers = [key for key in client.keys("rq:*") if b":worker" not in key]
    assert sorted(leftovers) == [b"rq:queues"]
    client.close()
    assert worker.poll() is None


def test_poisoned_messages_are_refused_and_the_worker_lives_on(site: Site) -> None:
    client = redis.Redis.from_url(site.url)
    queue = Queue("training:high", connection=client, serializer=JSONSerializer)
    queue.enqueue_call("os.system", args=("touch /tmp/never",))
    queue.enqueue_call("training_worker.attempt.run_attempt", args=("no-such-job", 1))
    queue.enqueue_call("training_worker.attempt.run_attempt", args=({"a": 1},), kwargs={"x": 2})
    Queue("training:high", connection=client).enqueue_call("builtins.print")  # a pickle
    client.hset("rq:job:broken", mapping={"data": b"\xff\x00", "status": "nonsense"})
    client.set("rq:job:wrong-type", "text")
    client.rpush("training:high", "x")  # not RQ's list; must not matter
    client.rpush("rq:queue:training:high", "broken", "wrong-type", "missing", b"\xff\xfe")
    worker = site.worker()
    job_id = site.submit(max_steps=2)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED
    said = site.logs()
    assert "it names 'os.system', and only 'training_worker.attempt.run_attempt' is allowed" in said
    assert "its arguments must be a job id (text) and an attempt (integer)" in said
    assert "a message names an unknown job" in said
    assert said.count("refused message") >= 6
    assert worker.poll() is None
    client.close()


def test_a_worker_without_a_gpu_leaves_a_cuda_job_and_trains_a_later_one(site: Site) -> None:
    worker = site.worker()
    for_cuda = site.submit(Execution(device="cuda"), max_steps=2)
    for_cpu = site.submit(Execution(device="cpu"), max_steps=2)
    assert site.wait(for_cpu, *END).status is JobStatus.SUCCEEDED
    assert site.wait(site.submit(max_steps=2), *END).status is JobStatus.SUCCEEDED
    left = site.job(for_cuda)
    assert (left.status, left.attempt, left.worker_id) == (JobStatus.QUEUED, 1, "")
    site.stop(for_cuda)
    assert worker.poll() is None


def test_a_vanished_dataset_fails_the_job_with_its_path(site: Site) -> None:
    site.worker()
    job_id = site.submit(dataset_path=str(site.text.with_name("gone.txt")))
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.reason == "INVALID_DATA"
    assert "gone.txt" in record.error.message
    assert "gone.txt" in record.error.log_tail
    assert "Traceback" not in record.error.log_tail
    assert record.attempt == 1


def test_a_stop_saves_at_the_next_step_and_is_prompt(site: Site) -> None:
    site.worker()
    job_id = site.submit(**LONG)
    site.wait_for(lambda: site.job(job_id).current_step >= 5)
    began = time.monotonic()
    site.stop(job_id)
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.STOPPED
    assert time.monotonic() - began < 20.0  # the stop timeout is five minutes
    newest = site.store.checkpoints(job_id)[-1]
    assert newest.step == record.current_step
    assert site.history(job_id)[-1][0] == record.current_step


def test_sigterm_hands_back_and_the_next_worker_ends_it_bitwise_equal(
    site: Site, undisturbed: Any
) -> None:
    first = site.worker()
    job_id = site.submit(**RUN)
    site.wait_for(lambda: site.job(job_id).current_step >= 12)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    record = site.job(job_id)
    assert (record.status, record.attempt) == (JobStatus.QUEUED, 2)
    assert record.consecutive_failures == 0
    handed_back_at = site.store.checkpoints(job_id)[-1].step
    assert handed_back_at >= 12
    site.send(job_id)
    site.worker()
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    assert record.resumed_from_step == handed_back_at
    assert_equal_to(site, job_id, undisturbed)


def test_a_killed_horse_is_requeued_at_once_and_resumes_bitwise_equal(
    site: Site, undisturbed: Any
) -> None:
    worker = site.worker()
    job_id = site.submit(**RUN)
    for attempt, step in ((1, 50), (2, 130)):
        horse = site.horse(worker)
        site.wait_for(lambda step=step: site.job(job_id).current_step >= step)
        os.kill(horse, signal.SIGKILL)
        record = site.wait(job_id, JobStatus.QUEUED, seconds=30)
        assert record.attempt == attempt + 1
        assert f"attempt {attempt} ended early and is tried again" in record.message
        assert "the trainer was ended by SIGKILL" in record.message
        site.send(job_id)
        site.wait(job_id, JobStatus.RUNNING)
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    assert_equal_to(site, job_id, undisturbed)


def test_a_killed_worker_takes_its_horse_along(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(**LONG)
    horse = site.horse(worker)
    site.wait_for(lambda: site.job(job_id).current_step >= 1)
    worker.kill()
    worker.wait()
    site.wait_for(lambda: not os.path.exists(f"/proc/{horse}"), seconds=30)
    assert site.job(job_id).status is JobStatus.RUNNING  # the reconciler's to find out


def test_a_killed_worker_starts_again_under_its_name(site: Site) -> None:
    site.worker().kill()
    for _ in range(2):  # the second finds what the first left behind
        worker = site.start_worker(worker_id="pod-0")
        done = site.wait(site.submit(max_steps=2), JobStatus.SUCCEEDED)
        assert done.worker_id == "pod-0"
        worker.kill()
        worker.wait()


def test_a_trainer_that_cannot_save_within_the_grace_is_left_behind(site: Site) -> None:
    worker = site.start_worker(grace_seconds=2)
    job_id = site.submit(**LONG)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    os.kill(site.horse(worker), signal.SIGSTOP)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    record = site.job(job_id)
    assert (record.status, record.attempt) == (JobStatus.QUEUED, 2)
    assert record.consecutive_failures == 0
    assert "the worker left before the trainer could save" in record.message


def test_a_stalled_trainer_is_killed_and_requeued(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(Execution(stall_timeout_seconds=3.0), **LONG)
    site.wait_for(lambda: site.job(job_id).current_step >= 1)
    os.kill(site.horse(worker), signal.SIGSTOP)
    record = site.wait(job_id, JobStatus.QUEUED)
    assert "no step for 3 s after step " in record.message
    site.stop(job_id)


def test_a_machine_that_stood_still_is_no_stall(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(Execution(stall_timeout_seconds=4.0), **LONG)
    site.wait_for(lambda: site.job(job_id).current_step >= 1)
    horse = site.horse(worker)
    os.kill(horse, signal.SIGSTOP)
    signal.sigtimedwait([], 0.3)  # the worker has seen the last step
    worker.send_signal(signal.SIGSTOP)
    signal.sigtimedwait([], 5)  # both stand still for longer than the stall timeout
    worker.send_signal(signal.SIGCONT)
    signal.sigtimedwait([], 0.3)  # the worker has its turn first
    os.kill(horse, signal.SIGCONT)
    step = site.job(job_id).current_step
    site.wait_for(lambda: site.job(job_id).current_step > step)
    assert site.horse(worker) == horse
    assert site.job(job_id).attempt == 1
    site.stop(job_id)


@contextmanager
def another_preparation(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Hold the lock under which `data` is tokenized, as a process that prepares it does.

    Yields the lock's file, whose time is that process's sign of life.
    """
    cache = cache_directory(data)
    with tempfile.TemporaryDirectory() as elsewhere, monkeypatch.context() as patch:
        patch.setenv("TRAINING_ENGINE_CACHE", elsewhere)
        load_dataset(data, TrainingConfig.from_dict(TINY | {"val_fraction": 0.0}))
        (lock,) = Path(elsewhere, "tokens").glob("*.lock")
    with (cache / "tokens" / lock.name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(file.name)


def new_text(site: Site, name: str) -> Path:
    """Data that no cache holds yet."""
    path = site.text.with_name(name)
    path.write_text(f"{name} {secrets.token_hex(8)}\n" * 400)
    return path


def test_a_preparation_longer_than_the_stall_timeout_is_no_stall(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.worker()
    data = new_text(site, "slow.txt")
    execution = Execution(stall_timeout_seconds=2.5, max_retries=0)
    with another_preparation(data, monkeypatch) as lock:
        job_id = site.submit(execution, dataset_path=str(data), max_steps=2, val_fraction=0.0)
        site.wait(job_id, JobStatus.RUNNING)
        began = time.monotonic()
        while time.monotonic() - began < 4.5:
            os.utime(lock)
            time.sleep(0.2)
        assert site.job(job_id).status is JobStatus.RUNNING
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, record.error
    assert record.attempt == 1


def test_a_start_that_hangs_is_a_stall(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.worker()
    data = new_text(site, "silent.txt")
    execution = Execution(stall_timeout_seconds=1.0, max_retries=0)
    with another_preparation(data, monkeypatch):
        job_id = site.submit(execution, dataset_path=str(data), val_fraction=0.0)
        record = site.wait(job_id, *END)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.reason == "STALLED"
    assert record.error.message == ("no sign of life for 1 s while it prepared its data and model")


def test_a_stop_that_takes_too_long_is_ended_hard(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(Execution(stop_timeout_seconds=0.5), **LONG)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    os.kill(site.horse(worker), signal.SIGSTOP)
    site.stop(job_id)
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.STOPPED
    assert "did not stop within 0.5 s and was killed" in record.message
    assert worker.poll() is None


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    site: Site, undisturbed: Any
) -> None:
    first = site.worker()
    job_id = site.submit(**RUN)
    site.wait_for(lambda: site.job(job_id).current_step >= 60)
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=30)
    *_, before, newest = site.store.checkpoints(job_id)
    damaged = site.artifacts / newest.artifact
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    site.send(job_id)
    site.worker()
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    assert record.resumed_from_step == before.step
    assert f"cannot resume from step {newest.step}: artifact" in site.logs()
    assert_equal_to(site, job_id, undisturbed)
