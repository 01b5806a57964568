"""A worker without Redis, and a worker that was declared dead and is not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path

from redis_server import RedisServer
from training_site import Site, comparable, connected

from job_store.reconcile import ReconcileStore
from job_store.records import JobError, JobRecord, JobStatus
from job_store.workers import WorkerDirectory

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


def spooled_steps(site: Site) -> int:
    """The last step in the only spool there is."""
    spools = list(site.artifacts.rglob("metrics.spool"))
    rows = spools[0].read_bytes().splitlines() if spools else []
    return int(rows[-1][1:].split(b",")[0]) if rows else 0


def test_an_outage_slows_no_step_and_loses_and_doubles_nothing(
    own_server: RedisServer, tmp_path: Path
) -> None:
    site = Site(own_server.url(), tmp_path)
    try:
        worker = site.start_worker()
        job_id = site.submit(max_steps=100_000, save_steps=50, eval_steps=100_000)
        site.wait_for(lambda: site.job(job_id).current_step >= 20)
        own_server.kill()
        at_kill = spooled_steps(site)
        site.wait_for(lambda: spooled_steps(site) > at_kill + 200)
        own_server.start()
        site.wait_for(lambda: site.job(job_id).current_step > at_kill + 200)
        own_server.pause()  # hangs instead of refusing
        paused_at = spooled_steps(site)
        site.wait_for(lambda: spooled_steps(site) > paused_at + 100)
        own_server.resume()
        site.wait_for(lambda: site.job(job_id).current_step > paused_at + 100)
        site.stop(job_id)
        record = site.wait(job_id, *END)
        assert (record.status, record.attempt) == (JobStatus.STOPPED, 1)
        steps = [step for step, _ in site.history(job_id)]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) == record.current_step
        assert site.store.checkpoints(job_id)[-1].step == record.current_step
        assert worker.poll() is None
    finally:
        site.close()


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_zombie_changes_nothing_of_its_successor(site: Site) -> None:
    zombie = site.start_worker(worker_id="zombie")
    job_id = site.submit(max_steps=400, save_steps=40, eval_steps=150)
    horse = site.horse(zombie)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    for pid in (zombie.pid, horse):
        os.kill(pid, signal.SIGSTOP)
    assert declare_lost(site, site.job(job_id)).attempt == 2
    site.send(job_id)
    successor = site.start_worker()
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    second = site.store.attempts(job_id)[-1]
    folder = site.artifacts / f"jobs/{job_id}/attempts/2-{second.claim_id}"
    before = (
        digest(folder), site.history(job_id), site.store.checkpoints(job_id), site.job(job_id)
    )  # fmt: skip
    for pid in (horse, zombie.pid):
        os.kill(pid, signal.SIGCONT)
    site.wait_for(lambda: not os.path.exists(f"/proc/{horse}"), seconds=20)
    site.wait_for(lambda: "zombie" in idle_workers(site))  # its parent has said all it had to say
    after = (
        digest(folder), site.history(job_id), site.store.checkpoints(job_id), site.job(job_id)
    )  # fmt: skip
    assert after == before
    assert zombie.poll() is None
    assert successor.poll() is None
    undisturbed = site.submit(max_steps=400, save_steps=40, eval_steps=150)
    assert site.wait(undisturbed, *END).status is JobStatus.SUCCEEDED
    assert comparable(site.history(undisturbed)) == comparable(before[1])


def idle_workers(site: Site) -> list[str]:
    """Ids of the workers that say they wait for a job."""

    async def run() -> list[str]:
        async with connected(site.url) as db:
            workers = await WorkerDirectory(db).list()
            return [worker.worker_id for worker in workers if worker.state == "idle"]

    return asyncio.run(run())


def declare_lost(site: Site, job: JobRecord) -> JobRecord:
    """What the reconciler does once a lease stood still."""

    async def run() -> JobRecord | None:
        async with connected(site.url) as db:
            error = JobError("WORKER_LOST", "the lease ran out")
            return await ReconcileStore(db).declare_lost(
                job.job_id, job.attempt, job.claim_id, error
            )

    record = asyncio.run(run())
    assert record is not None
    return record
