"""Tokens of the gRPC port: guesses are slowed, for unary calls and streams, and others are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from failure import failure_of
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from control_plane.authentication import client_of
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from training_engine.v1 import job_pb2, job_pb2_grpc

SHORT, LONG = "short", "long-" + 8 * "5f0c"


@pytest.fixture
async def channel(plane_settings: ControlPlaneSettings) -> AsyncIterator[grpc.aio.Channel]:
    plane_settings.auth_tokens = SecretStr(f"{SHORT},{LONG}")
    plane = ControlPlane(ServiceState(plane_settings), plane_settings.accepted_tokens())
    await plane.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        yield channel
    await plane.stop(0.5)


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def listed(channel: grpc.aio.Channel, token: str) -> job_pb2.ListJobsResponse:
    jobs: Any = job_pb2_grpc.JobServiceStub(channel)
    answer = await jobs.ListJobs(job_pb2.ListJobsRequest(), metadata=metadata(token))
    assert isinstance(answer, job_pb2.ListJobsResponse)
    return answer


async def test_wrong_tokens_are_slowed_and_long_ones_never(channel: grpc.aio.Channel) -> None:
    jobs: Any = job_pb2_grpc.JobServiceStub(channel)
    await listed(channel, SHORT)
    for guess in range(5):
        assert (await failure_of(listed(channel, f"guess{guess}"))).reason == "UNAUTHENTICATED"
        watch = jobs.WatchJob(job_pb2.WatchJobRequest(job_id="x"), metadata=metadata(f"is{guess}"))
        assert (await failure_of(watch.read())).reason == "UNAUTHENTICATED"
    for token in ("guess", SHORT):
        failure = await failure_of(listed(channel, token))
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "RATE_LIMITED",
        )
        assert "too many wrong tokens came from 127.0.0.1; try again in" in failure.message
        watch = jobs.WatchJob(job_pb2.WatchJobRequest(job_id="x"), metadata=metadata(token))
        assert (await failure_of(watch.read())).reason == "RATE_LIMITED"
    await listed(channel, LONG)
    watch = jobs.WatchJob(job_pb2.WatchJobRequest(job_id="x"), metadata=metadata(LONG))
    assert (await failure_of(watch.read())).reason == "JOB_NOT_FOUND"


async def test_calls_without_a_token_are_no_guesses(channel: grpc.aio.Channel) -> None:
    for _ in range(20):
        assert (await failure_of(listed(channel, ""))).reason == "UNAUTHENTICATED"
    await listed(channel, SHORT)


@pytest.mark.parametrize("token", [SHORT, LONG])
async def test_every_kind_of_stream_is_let_in(channel: grpc.aio.Channel, token: str) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = stub.ServerReflectionInfo(iter([request]), metadata=metadata(token))
    assert [bool(one.list_services_response.service) async for one in answers] == [True]
    jobs: Any = job_pb2_grpc.JobServiceStub(channel)
    watch = jobs.WatchJob(job_pb2.WatchJobRequest(job_id="x"), metadata=metadata(token))
    assert (await failure_of(watch.read())).reason == "JOB_NOT_FOUND"


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:[2001:db8::1]:5000", "2001:db8::1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("unix:/run/engine.sock", "unix:/run/engine.sock"),
    ],
)
def test_a_client_is_its_address_whatever_its_port(peer: str, client: str) -> None:
    assert client_of(peer) == client
