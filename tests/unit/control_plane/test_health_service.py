"""`grpc.health.v1`: every method works without a token, watches are few and end with the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from failure import failure_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from control_plane import health_service
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState

Status = health_pb2.HealthCheckResponse
JOBS = "training_engine.v1.JobService"


@pytest.fixture
async def guarded_plane(plane_settings: ControlPlaneSettings) -> AsyncIterator[ControlPlane]:
    plane_settings.auth_tokens = SecretStr("secret")
    plane = ControlPlane(ServiceState(plane_settings), plane_settings.accepted_tokens())
    await plane.start()
    yield plane
    await plane.stop(0.5)


@pytest.fixture
async def health(guarded_plane: ControlPlane) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{guarded_plane.port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)


def asked(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def test_a_watch_tells_the_status_and_each_change(
    guarded_plane: ControlPlane, health: Any
) -> None:
    watch, unknown = health.Watch(asked(JOBS)), health.Watch(asked("no.Such"))
    assert (await watch.read()).status == Status.SERVING
    assert (await unknown.read()).status == Status.SERVICE_UNKNOWN
    service = guarded_plane._health.servicer
    service.set(JOBS, Status.NOT_SERVING)
    assert (await watch.read()).status == Status.NOT_SERVING
    service.set(JOBS, Status.SERVING)
    assert (await watch.read()).status == Status.SERVING
    service.set("no.Such", Status.SERVING)
    assert (await unknown.read()).status == Status.SERVING


async def test_check_and_list_name_what_is_served(health: Any) -> None:
    listed = (await health.List(health_pb2.HealthListRequest())).statuses
    assert {"", JOBS, "liveness"} <= set(listed)
    assert {status.status for status in listed.values()} == {Status.SERVING}
    with pytest.raises(grpc.aio.AioRpcError, match="which is not served") as caught:
        await health.Check(asked("no.Such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_number_of_open_watches_is_bounded(
    health: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_service, "MOST_WATCHES", 2)
    watches = [health.Watch(asked()) for _ in range(2)]
    for watch in watches:
        await watch.read()
    failure = await failure_of(health.Watch(asked()).read())
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
    )
    watches[0].cancel()
    async with asyncio.timeout(60):
        while True:
            try:
                assert (await health.Watch(asked()).read()).status == Status.SERVING
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)


async def test_watches_end_with_the_server_and_hold_it_up_for_nothing(
    plane_settings: ControlPlaneSettings,
) -> None:
    plane = ControlPlane(ServiceState(plane_settings), [])
    await plane.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(asked())
        assert (await watch.read()).status == Status.SERVING
        began = time.monotonic()
        stopping = asyncio.create_task(plane.stop(grace=60))
        assert (await watch.read()).status == Status.NOT_SERVING
        failure = await failure_of(watch.read())
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        await stopping
        assert time.monotonic() - began < 30
