"""Calls whose change the server does not confirm: not acknowledged, and no file is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from failure import failure_of
from redis_server import RedisServer

from artifact_store import job_prefix
from control_plane.leftovers import Sweeper
from control_plane.server import ControlPlane
from job_store.errors import NotOnDiskError
from training_engine.v1 import job_pb2


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[redis.Redis]:
    server = RedisServer(tmp_path / "server").start()
    with redis.Redis.from_url(server.url()) as client:
        client.acl_setuser(
            "store", enabled=True, passwords=["+secret"], keys="*", commands=["+@all", "-config"]
        )
        yield client
    server.stop()


@pytest.fixture
def redis_url(admin: redis.Redis) -> str:
    port = admin.connection_pool.connection_kwargs["port"]
    return f"redis://store:secret@127.0.0.1:{port}/0"


async def test_a_start_is_refused_until_it_is_on_disk_and_made_once(
    plane: ControlPlane, stubs: Any, admin: redis.Redis, data_root: Path
) -> None:
    plane.state.connection.disk.seconds = 0.1
    request = job_pb2.StartJobRequest(
        config_document="{}", dataset_path=str(data_root / "corpus.txt"), request_id="r1"
    )
    admin.config_set("appendfsync", "no")
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert "repeat the call with the same request_id" in failure.message
    admin.config_set("appendfsync", "always")
    started = await stubs.jobs.StartJob(request)
    listed = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())
    assert [job.job_id for job in listed.jobs] == [started.job.job_id]


async def test_files_stay_while_their_deletion_could_be_forgotten(
    plane: ControlPlane, stubs: Any, admin: redis.Redis, data_root: Path
) -> None:
    state = plane.state
    state.connection.disk.seconds = 0.1
    request = job_pb2.StartJobRequest(
        config_document="{}", dataset_path=str(data_root / "corpus.txt")
    )
    job_id = (await stubs.jobs.StartJob(request)).job.job_id
    state.artifacts.put(f"{job_prefix(job_id)}/attempts/1-a/checkpoint_step_1.pt", [b"weights"])
    files = lambda: list(state.artifacts.keys(job_prefix(job_id)))  # noqa: E731
    admin.config_set("appendfsync", "no")
    wanted = job_pb2.DeleteJobRequest(job_id=job_id, request_id="d1")
    assert (await failure_of(stubs.jobs.DeleteJob(wanted))).reason == "STORE_UNAVAILABLE"
    sweeper = Sweeper(state)
    sweeper._age = 0.0
    with pytest.raises(NotOnDiskError):
        await sweeper.sweep()
    assert len(files()) == 1
    admin.config_set("appendfsync", "always")
    await stubs.jobs.DeleteJob(wanted)
    assert files() == []
