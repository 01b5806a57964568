"""Jobs whose artifacts are in a bucket, trained by workers that share no folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_server import BUCKET, BucketServer, Faults
from redis_server import RedisServer
from test_worker_outage import END, declare_lost
from training_site import Site, comparable

from job_store.records import JobStatus

RUN = {"max_steps": 60, "save_steps": 10, "eval_steps": 20, "max_checkpoints_to_keep": 3}
_DATABASE = 903


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketServer]:
    server = BucketServer(Faults(seed=3, refused=0.05, torn=0.05, cut_bodies=0.1)).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def place(redis_server: RedisServer, bucket: BucketServer, tmp_path: Path) -> Iterator[Site]:
    place = Site(redis_server.url(_DATABASE), tmp_path, f"s3://{BUCKET}/{tmp_path.name}")
    place.forget_everything()
    yield place
    place.close()


def test_another_machine_continues_a_killed_run_exactly(place: Site, tmp_path: Path) -> None:
    first = place.start_worker()
    place.pace.set(0.03)
    job_id = place.submit(**RUN)
    place.wait_for(lambda: place.store.checkpoints(job_id))
    horse = place.horse(first)
    first.kill()
    place.pace.set(0)
    place.wait_for(lambda: not os.path.exists(f"/proc/{horse}"))
    declare_lost(place, place.job(job_id))
    place.send(job_id)
    place.start_worker()
    done = place.wait(job_id, *END)
    assert done.status is JobStatus.SUCCEEDED, place.logs()
    assert done.attempt == 2
    assert done.resumed_from_step >= 10
    undisturbed = place.submit(**RUN)
    place.wait(undisturbed, JobStatus.SUCCEEDED)
    assert comparable(place.history(job_id)) == comparable(place.history(undisturbed))
    weights, expected = place.weights(job_id), place.weights(undisturbed)
    assert all(weights[name].equal(expected[name]) for name in expected)
    kept = {one.artifact for one in place.store.checkpoints(undisturbed)}
    stored = set(place.store_of_artifacts().keys(f"jobs/{undisturbed}"))
    assert kept | {key.replace(".pt", ".json") for key in kept} <= stored
    scratch = tmp_path / "scratch" / "1"  # of the second worker; it ends the attempt after the job
    place.wait_for(lambda: not list(scratch.rglob("*.pt")))
