"""The control plane as a process and as a server: health, authentication, reflection, its end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from failure import failure_of, read_failure
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr
from redis_server import RedisServer

from control_plane.interceptors import ErrorInterceptor
from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from training_engine.v1 import job_pb2, job_pb2_grpc

COMMAND = [sys.executable, "-P", "-m", "control_plane"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def running(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[tuple[Any, int]]:
    """A control plane process and its port."""
    process = subprocess.Popen(
        [*COMMAND, "--port=0", f"--artifact-root={tmp_path / 'art'}", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        cwd=tmp_path,
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"port=(\d+)", line):
                yield process, int(found[1])
                break
        else:
            raise AssertionError(said)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


async def health_of(port: int, service: str = "") -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        return (await stub.Check(request, wait_for_ready=True)).status


async def until_health(port: int, status: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while await health_of(port) != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_it_waits_for_redis_and_serves_once_it_answers(
    tmp_path: Path, quiet_port: int
) -> None:
    server = RedisServer(tmp_path / "redis", quiet_port)
    with running(tmp_path, TRAINING_ENGINE_REDIS_URL=server.url()) as (process, port):
        await until_health(port, NOT_SERVING)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            jobs = job_pb2_grpc.JobServiceStub(channel)
            failure = await failure_of(jobs.ListJobs(job_pb2.ListJobsRequest()))
            assert failure.code is grpc.StatusCode.UNAVAILABLE
            assert failure.reason == "STORE_UNAVAILABLE"
            assert server.password not in failure.message
            server.start()
            await until_health(port, SERVING)
            assert await health_of(port, "training_engine.v1.JobService") == SERVING
            assert len((await jobs.ListJobs(job_pb2.ListJobsRequest())).jobs) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert server.password not in process.stderr.read()
    server.stop()


def test_a_port_in_use_is_one_line(tmp_path: Path, redis_url: str) -> None:
    with running(tmp_path, TRAINING_ENGINE_REDIS_URL=redis_url) as (_, port):
        second = subprocess.run(
            [*COMMAND, f"--port={port}"], capture_output=True, text=True, cwd=tmp_path, timeout=30
        )
    assert second.returncode == 1
    line = second.stderr.strip().splitlines()[-1]
    assert line.startswith(f"control_plane: error: 127.0.0.1:{port} cannot be listened on")
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--lease-seconds=-1"], 2, "--lease-seconds: '-1' is not usable"),
        (["--leas=1"], 2, "unrecognized arguments: --leas=1"),
        (["--host=0.0.0.0"], 1, "--host: 0.0.0.0 can be reached from other machines and no token"),
        (["--redis-url=http://:pw@x"], 1, "--redis-url: the Redis URL begins with 'http'"),
        (["--redis-url-file=/none"], 1, "--redis-url-file: cannot read /none: No such file"),
    ],
)
def test_wrong_settings_are_one_line(
    tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=30
    )
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert ":pw@" not in done.stderr


async def test_tokens_let_in_and_health_needs_none(plane_settings: ControlPlaneSettings) -> None:
    plane_settings.auth_tokens = SecretStr("first, second")
    plane = ControlPlane(ServiceState(plane_settings), plane_settings.accepted_tokens())
    await plane.start()
    try:
        assert await health_of(plane.port) == SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
            jobs = job_pb2_grpc.JobServiceStub(channel)
            for token in (None, "Bearer wrong", "second", "Basic second"):
                metadata = (("authorization", token),) if token else ()
                failure = await failure_of(
                    jobs.ListJobs(job_pb2.ListJobsRequest(), metadata=metadata)
                )
                assert failure.code is grpc.StatusCode.UNAUTHENTICATED
                assert failure.reason == "UNAUTHENTICATED"
                watch = jobs.WatchJob(job_pb2.WatchJobRequest(job_id="x"), metadata=metadata)
                assert (await failure_of(watch.read())).reason == "UNAUTHENTICATED"
            known = (("authorization", "Bearer second"),)
            await jobs.ListJobs(job_pb2.ListJobsRequest(), metadata=known)
    finally:
        await plane.stop(0.5)


async def test_reflection_lists_every_service(plane: ControlPlane) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for response in stub.ServerReflectionInfo(iter([request])):
            names = {service.name for service in response.list_services_response.service}
        symbol = reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="training_engine.v1.JobService"
        )
        async for response in stub.ServerReflectionInfo(iter([symbol])):
            files = response.file_descriptor_response.file_descriptor_proto
    assert {f"training_engine.v1.{name}Service" for name in (
        "Config", "Job", "Metrics", "Checkpoint", "Dataset", "Generation", "Worker",
    )} <= names  # fmt: skip
    assert "grpc.health.v1.Health" in names
    assert any(FileDescriptorProto.FromString(file).service for file in files)


async def test_a_defect_is_internal_with_a_reference_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: Any, context: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    handler = grpc.unary_unary_rpc_method_handler(broken)
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("x.Y", {"Z": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/x.Y/Z")(b"")
    failure = read_failure(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret detail" not in failure.message
    assert re.fullmatch(
        r"the call failed by a defect of the service; its log tells more under [0-9a-f]{12}",
        failure.message,
    )
    assert failure.metadata["reference"] in failure.message
    await server.stop(None)
