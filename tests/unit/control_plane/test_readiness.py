"""What makes a control plane not ready, that it says why, and that it recovers by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from failure import failure_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr
from redis_server import RedisServer
from redis_trouble import Trouble, administrator, forbidding, full, read_only
from started import running_job, start, tiny_request
from structlog.testing import capture_logs

from control_plane.settings import ControlPlaneSettings
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from service_runtime.duties import NOT_READY_METADATA
from training_engine.v1 import job_pb2


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server of this module alone, which its tests may disturb."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def plane_settings(
    plane_settings: ControlPlaneSettings, own_server: RedisServer
) -> ControlPlaneSettings:
    """Workers are declared lost after 0.6 s."""
    plane_settings.redis_url = SecretStr(own_server.url())
    plane_settings.artifact_root = own_server.folder / "artifacts"
    plane_settings.lease_seconds = 0.6
    return plane_settings


async def readiness(stubs: Any) -> str:
    """Why it is not ready; empty where it is."""
    call = health_pb2_grpc.HealthStub(stubs.channel).Check(health_pb2.HealthCheckRequest())
    answer = await call
    said = [value.decode() for key, value in await call.trailing_metadata()
            if key == NOT_READY_METADATA]  # fmt: skip
    assert (answer.status == health_pb2.HealthCheckResponse.SERVING) is (not said)
    return said[0] if said else ""


async def until_readiness(stubs: Any, wanted: str) -> None:
    deadline = time.monotonic() + 15
    while not ((said := await readiness(stubs)) == wanted or (wanted and wanted in said)):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        (full, "its memory is full (maxmemory); raise it, or delete jobs"),
        (read_only, "it is a read-only replica; make it the primary again"),
        (forbidding("-set", "-hset"), "allow its user that"),
    ],
    ids=["full", "read-only", "forbidden"],
)
async def test_it_is_not_ready_while_redis_refuses_and_works_on_after_it(
    stubs: Any, own_server: RedisServer, trouble: Trouble, remedy: str
) -> None:
    connection = Connection.open(own_server.url())
    job_id, _ = await running_job(stubs, AttemptStore(connection))
    with trouble(own_server):
        failure = await failure_of(stubs.jobs.StartJob(tiny_request()))
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "STORE_UNAVAILABLE",
        )
        assert remedy in failure.message
        await until_readiness(stubs, remedy)
    await until_readiness(stubs, "")
    await start(stubs)
    deadline = time.monotonic() + 15  # the worker of the running job renews no lease
    while (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job.attempt == 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    connection.close()


async def test_a_defect_of_a_duty_is_logged_and_shown_and_tried_again(
    stubs: Any, own_server: RedisServer
) -> None:
    await until_readiness(stubs, "")
    with administrator(own_server) as client, capture_logs() as logged:
        # The reconciler's lock becomes what no script of ours can read.
        client.pipeline().delete("te:leader").rpush("te:leader", "x").execute()
        try:
            await until_readiness(stubs, "reconciler fails (ResponseError); see the log of the")
        finally:
            client.delete("te:leader")
    assert any("WRONGTYPE" in str(entry.get("exc_info")) for entry in logged)
    await until_readiness(stubs, "")


async def test_redis_that_is_gone_is_named(stubs: Any, own_server: RedisServer) -> None:
    await until_readiness(stubs, "")
    own_server.kill()
    await until_readiness(stubs, f"connecting to 127.0.0.1:{own_server.port}")
    own_server.start()
    await until_readiness(stubs, "")
