"""Jobs that cannot be trained, or not for long: a clear end, and the worker lives on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import redis
import torch
from rq import Queue
from rq.serializers import JSONSerializer
from training_site import Site, comparable, connected

from artifact_store import FolderStore, dataset_key
from control_plane.queue import AttemptQueue
from job_store.catalog import DatasetStore
from job_store.jobs import JobStore
from job_store.queues import RUN_ATTEMPT
from job_store.records import Execution, JobStatus, Priority

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


def send(site: Site, job_id: str, priority: str = "default") -> None:
    """Put a message for the first attempt into the queue, whatever the record holds."""

    async def run() -> None:
        async with connected(site.url) as db:
            await AttemptQueue(db).send(job_id, 1, priority, "auto")

    asyncio.run(run())


def set_field(site: Site, job_id: str, name: str, value: str) -> None:
    async def run() -> None:
        async with connected(site.url) as db:
            await db.command("HSET", f"te:job:{job_id}", name, value)

    asyncio.run(run())


def keys_of_messages(site: Site) -> list[bytes]:
    async def run() -> list[bytes]:
        async with connected(site.url) as db:
            return list(await db.command("KEYS", "rq:job:*"))

    return asyncio.run(run())


def assert_alive(site: Site) -> None:
    """The worker trains the next job as if nothing had been."""
    done = site.wait(site.submit(max_steps=2), *END)
    assert done.status is JobStatus.SUCCEEDED, site.logs()
    assert keys_of_messages(site) == []


@pytest.mark.parametrize("version", ["0", "2"])
def test_a_job_of_another_version_is_left_to_its_own_workers(site: Site, version: str) -> None:
    worker = site.worker()
    job_id = site.submit(send=0, max_steps=2)
    set_field(site, job_id, "v", version)
    send(site, job_id)
    said = f"a message is left to another version: job {job_id} is stored as version {version}"
    site.wait_for(lambda: said in site.logs())
    assert_alive(site)
    set_field(site, job_id, "v", "1")  # nothing of it was lost: its own worker trains it
    assert site.job(job_id).status is JobStatus.QUEUED
    send(site, job_id)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED
    assert worker.poll() is None


@pytest.mark.parametrize("odd", ["../../etc", "job_*", "", "é" * 300, "job:1\r\nSET x 1"])
def test_a_message_with_an_odd_id_is_refused(site: Site, odd: str) -> None:
    worker = site.worker()
    client = redis.Redis.from_url(site.url)
    queue = Queue("training:default", connection=client, serializer=JSONSerializer)
    queue.enqueue_call(RUN_ATTEMPT, args=(odd, 1))
    client.close()
    assert_alive(site)
    assert f"a message names an unknown job: there is no job {odd[:20]!r}"[:-1] in site.logs()
    assert worker.poll() is None


def test_a_message_of_a_deleted_job_means_nothing(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(send=0, max_steps=2)

    async def delete() -> None:
        async with connected(site.url) as db:
            await JobStore(db).delete(job_id)

    asyncio.run(delete())
    send(site, job_id)
    assert_alive(site)
    assert worker.poll() is None


def test_an_uploaded_dataset_that_vanished_fails_the_job_and_says_what_to_do(site: Site) -> None:
    site.worker()
    artifacts = FolderStore(site.artifacts)

    async def upload() -> str:
        async with connected(site.url) as db:
            key = dataset_key("x", "text.txt")
            info = artifacts.put(key, [site.text.read_bytes()])
            store = DatasetStore(db)
            record = await store.create("text.txt", info.size_bytes, info.sha256, key)
            return record.dataset_id

    dataset_id = asyncio.run(upload())
    path = f"dataset://{dataset_id}"
    assert site.wait(site.submit(dataset_path=path, max_steps=2), JobStatus.SUCCEEDED)
    artifacts.delete(dataset_key("x", "text.txt"))
    record = site.wait(site.submit(dataset_path=path, max_steps=2), *END)
    assert (record.status, record.attempt) == (JobStatus.FAILED, 1)
    assert record.error is not None
    assert record.error.reason == "INVALID_DATA"
    assert f"dataset '{path}' is gone" in record.error.message
    assert "upload it again and start a new job" in record.error.message
    assert_alive(site)


def test_a_crash_loop_ends_in_failed_with_its_last_error_and_output(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(
        Execution(max_retries=1), max_steps=100_000, save_steps=50_000, eval_steps=100_000
    )
    said = "WARNING app.training.trainer: `save_steps` is 50000"  # by each once, at its start
    for attempt in (1, 2):
        site.wait_for(
            lambda attempt=attempt: (
                sum(said in file.read_text() for file in site.artifacts.rglob("output.log"))
                == attempt
            )
        )
        os.kill(site.horse(worker), signal.SIGKILL)
        if attempt == 1:
            assert site.wait(job_id, JobStatus.QUEUED).attempt == 2
            site.send(job_id)
    record = site.wait(job_id, JobStatus.FAILED)
    assert record.attempt == 2
    assert record.message == ("2 attempts in a row ended without a new checkpoint (max_retries 1)")
    assert record.error is not None
    assert record.error.reason == "TRAINER_DIED"
    assert record.error.message == (
        "the trainer was ended by SIGKILL; the machine may be out of memory"
    )
    assert said in record.error.log_tail
    assert_alive(site)


def test_a_higher_priority_is_taken_first(site: Site) -> None:
    for process in site.workers():
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    jobs = {}
    for priority in (Priority.LOW, Priority.DEFAULT, Priority.HIGH):
        jobs[priority] = site.submit(Execution(priority=priority), send=0, max_steps=2)
        send(site, jobs[priority], priority.value)
    site.worker()
    started = {p: site.wait(job_id, *END).started_at or 0 for p, job_id in jobs.items()}
    assert started[Priority.HIGH] < started[Priority.DEFAULT] < started[Priority.LOW]


HOLD_AT_STEP_7 = """
import os, pathlib, time

class Hold:
    def __init__(self, trainer):
        self.trainer = trainer

    def on_step_end(self, step, metrics):
        if step == 7 and pathlib.Path(os.environ["HOLD_FILE"]).exists():
            while not self.trainer._stop_requested:
                time.sleep(0.01)
"""


def test_a_job_keeps_the_number_of_threads_that_it_began_with(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits depend on it: two workers of one machine may give their jobs different numbers."""
    for process in site.workers():
        process.kill()
        process.wait()
    (tmp_path / "hold_at_step_7.py").write_text(HOLD_AT_STEP_7)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HOLD_FILE", str(tmp_path / "hold"))
    begun = site.start_worker(threads=2, callbacks="hold_at_step_7:Hold")
    undisturbed = site.submit()
    assert site.wait(undisturbed, *END).status is JobStatus.SUCCEEDED, site.logs()
    (tmp_path / "hold").touch()
    job_id = site.submit()
    site.wait_for(lambda: site.job(job_id).current_step >= 7)
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(timeout=30) == 0
    site.start_worker(threads=1)
    site.send(job_id)
    record = site.wait(job_id, *END)
    assert (record.status, record.attempt) == (JobStatus.SUCCEEDED, 2), site.logs()
    assert (record.resumed_from_step, record.notes) == (7, ())
    assert comparable(site.history(job_id)) == comparable(site.history(undisturbed))
    newest = site.store.checkpoints(job_id)[-1]
    state = torch.load(site.artifacts / newest.artifact, weights_only=True)
    assert state["environment"]["num_threads"] == 2
    expected = site.weights(undisturbed)
    assert all(torch.equal(site.weights(job_id)[name], expected[name]) for name in expected)
