"""What an attempt saved and did not live to register is found by the next one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from test_worker_outage import END, declare_lost
from training_site import Site, comparable, connected

from job_store.jobs import JobStore
from job_store.records import JobRecord, JobStatus
from training_worker.unregistered import find_unregistered

RUN = {"max_steps": 400, "save_steps": 40, "eval_steps": 40, "max_checkpoints_to_keep": 20}


@pytest.fixture
def place(own_server: RedisServer, tmp_path: Path) -> Iterator[Site]:
    place = Site(own_server.url(), tmp_path)
    yield place
    place.close()


def manifests(site: Site, job_id: str) -> list[Path]:
    """Of complete checkpoints, ascending by step."""
    found = (site.artifacts / "jobs" / job_id).rglob("checkpoint_step_*.json")
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def kill_before_registration(site: Site, server: RedisServer) -> tuple[JobRecord, Path]:
    """A job whose worker died in an outage of Redis; and the manifest of what it saved in it."""
    worker = site.start_worker()
    job_id = site.submit(**RUN)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    horse = site.horse(worker)
    server.pause()
    before = len(manifests(site, job_id))
    site.wait_for(lambda: len(manifests(site, job_id)) > before)
    os.kill(horse, signal.SIGSTOP)
    worker.kill()  # its trainer dies with it
    worker.wait()
    server.resume()
    site.wait_for(lambda: not os.path.exists(f"/proc/{horse}"))
    newest = manifests(site, job_id)[-1]
    assert step_of(newest) > site.store.checkpoints(job_id)[-1].step
    return declare_lost(site, site.job(job_id)), newest


def test_it_is_registered_and_continued(place: Site, own_server: RedisServer) -> None:
    job, newest = kill_before_registration(place, own_server)
    place.send(job.job_id)
    place.start_worker()
    done = place.wait(job.job_id, *END)
    assert done.status is JobStatus.SUCCEEDED, place.logs()
    assert (done.attempt, done.resumed_from_step) == (2, step_of(newest))
    undisturbed = place.submit(**RUN)
    place.wait(undisturbed, JobStatus.SUCCEEDED)
    assert comparable(place.history(job.job_id)) == comparable(place.history(undisturbed))
    weights, expected = place.weights(job.job_id), place.weights(undisturbed)
    assert all(weights[name].equal(expected[name]) for name in expected)
    of_first = [one for one in place.store.checkpoints(job.job_id) if one.attempt == 1]
    alike = place.store.checkpoints(undisturbed)[: len(of_first)]
    assert of_first[-1].step == step_of(newest)
    assert [(one.step, one.loss, one.best_score) for one in of_first] == [
        (one.step, one.loss, one.best_score) for one in alike
    ]


def flip(manifest: Path) -> None:
    path = manifest.with_suffix(".pt")
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def cut_spool(manifest: Path) -> None:
    os.truncate(manifest.with_name("metrics.spool"), 1000)


def drop_first_points(manifest: Path) -> None:
    spool = manifest.with_name("metrics.spool")
    lines = spool.read_text().splitlines(keepends=True)
    late = (line for line in lines if json.loads(line)[0] >= step_of(manifest) - 1)
    spool.write_text("".join(late))


def find(site: Site, job_id: str, attempt: int) -> int | None:
    """Step of what would be registered."""
    artifacts = site.store_of_artifacts()
    found = find_unregistered(site.store, artifacts, job_id, attempt, lambda size: None)
    return found.record.step if found else None


def test_what_is_not_sound_or_not_wanted_is_not_registered(
    place: Site, own_server: RedisServer, tmp_path: Path
) -> None:
    job, newest = kill_before_registration(place, own_server)
    registered = place.store.checkpoints(job.job_id)
    for manifest in manifests(place, job.job_id):
        if step_of(manifest) > registered[-1].step and manifest != newest:
            manifest.unlink()
    kept = tmp_path / "kept"
    shutil.copytree(newest.parent, kept)
    for damage in (flip, cut_spool, drop_first_points, Path.unlink):
        assert find(place, job.job_id, 2) == step_of(newest)
        damage(newest)
        assert find(place, job.job_id, 2) is None
        shutil.copytree(kept, newest.parent, dirs_exist_ok=True)
    assert find(place, job.job_id, 3) is None  # attempt 2 was not claimed yet

    def stop_and_resume(**choice: Any) -> None:
        async def run() -> None:
            async with connected(place.url) as db:
                await JobStore(db).request_stop(job.job_id)
                await JobStore(db).resume(job.job_id, **choice)

        asyncio.run(run())

    stop_and_resume()
    assert find(place, job.job_id, 3) == step_of(newest)
    stop_and_resume(max_steps=step_of(newest) - 1)
    assert find(place, job.job_id, 4) is None
    stop_and_resume(max_steps=step_of(newest))
    assert find(place, job.job_id, 5) == step_of(newest)
    stop_and_resume(checkpoint_id=registered[0].checkpoint_id)
    assert find(place, job.job_id, 6) is None  # a person has said where to begin
    stop_and_resume()
    assert find(place, job.job_id, 7) is None  # and so it stays until a worker has claimed it
