"""A worker whose Redis is full, read-only or forbids something: it waits, and its job goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from redis_server import RedisServer
from redis_trouble import Trouble, forbidding, full, read_only, unblock_all
from test_worker_outage import END, idle_workers, spooled_steps
from training_site import Site

from job_store.records import JobStatus

TROUBLES: dict[str, Trouble] = {
    "full": full,
    "read-only": read_only,
    "forbidden": forbidding("-evalsha", "-eval", "-hset", "-blpop"),
}


def train_through(site: Site, server: RedisServer, trouble: Trouble, job_id: str) -> None:
    """The trainer goes on and spools its metrics; after it they are delivered."""
    site.wait_for(lambda: site.job(job_id).current_step >= 20)
    with trouble(server):
        before = spooled_steps(site)
        site.wait_for(lambda: spooled_steps(site) > before + 30)
    site.wait_for(lambda: site.job(job_id).current_step > before + 30)


def wait_through(site: Site, server: RedisServer, trouble: Trouble) -> None:
    """An idle worker says that it waits."""
    said = site.logs().count("a background task waits")
    with trouble(server):
        site.wait_for(lambda: site.logs().count("a background task waits") > said)


def test_a_running_job_and_an_idle_worker_outlive_every_refusal(
    own_server: RedisServer, tmp_path: Path
) -> None:
    site = Site(own_server.url(), tmp_path)
    try:
        with read_only(own_server):  # a worker that starts now waits too
            worker = site.start_worker(worker_id="w")
            site.wait_for(lambda: "read-only replica; make it the primary again" in site.logs())
        job_id = site.submit(max_steps=100_000, save_steps=50, eval_steps=100_000)
        for trouble in TROUBLES.values():
            train_through(site, own_server, trouble, job_id)
        site.stop(job_id)
        record = site.wait(job_id, *END)
        assert (record.status, record.attempt) == (JobStatus.STOPPED, 1)
        steps = [step for step, _ in site.history(job_id)]
        assert steps == list(range(1, record.current_step + 1))
        assert site.store.checkpoints(job_id)[-1].step == record.current_step

        site.wait_for(lambda: idle_workers(site) == ["w"])
        for name in ("read-only", "forbidden"):  # to one that is idle a full server is no trouble
            wait_through(site, own_server, TROUBLES[name])
        site.wait_for(lambda: unblock_all(own_server))
        assert site.wait(site.submit(), *END).status is JobStatus.SUCCEEDED
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 0
    finally:
        site.close()


_DEFECT = """
import sys
from training_worker import worker
from training_worker.__main__ import main

def broken(self):
    raise ZeroDivisionError("a defect in the loop")

worker.TrainingWorker.should_run_maintenance_tasks = property(broken)
sys.exit(main())
"""


def test_a_worker_that_ends_by_a_defect_says_so_by_its_exit_code(
    redis_url: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _DEFECT, "--no-generation", "--burst"],
        env={**os.environ, "TRAINING_ENGINE_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "ZeroDivisionError: a defect in the loop" in done.stderr
    assert "the loop that takes jobs ended by an error" in done.stderr.splitlines()[-1]
