"""A control plane in this process, on a free port, over a real Redis server and a real channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from free_ports import free_port
from pydantic import SecretStr

from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.workers import WorkerRegistry
from training_engine.v1 import (
    checkpoint_pb2_grpc,
    config_pb2_grpc,
    dataset_pb2_grpc,
    generation_pb2_grpc,
    job_pb2_grpc,
    metrics_pb2_grpc,
    sweep_pb2_grpc,
    worker_pb2_grpc,
)


@dataclass
class Stubs:
    """A client's view of a control plane."""

    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.configs = config_pb2_grpc.ConfigServiceStub(self.channel)
        self.jobs = job_pb2_grpc.JobServiceStub(self.channel)
        self.metrics = metrics_pb2_grpc.MetricsServiceStub(self.channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(self.channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self.channel)
        self.generation = generation_pb2_grpc.GenerationServiceStub(self.channel)
        self.sweeps = sweep_pb2_grpc.SweepServiceStub(self.channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(self.channel)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """An allowed folder with one text file."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "corpus.txt").write_text("to be or not to be\n" * 100)
    return root


@pytest.fixture
def plane_settings(redis_url: str, tmp_path: Path, data_root: Path) -> ControlPlaneSettings:
    """Settings with short intervals; a test may change them before it asks for `plane`."""
    return ControlPlaneSettings(
        redis_url=SecretStr(redis_url),
        port=0,
        artifact_root=tmp_path / "artifacts",
        data_root=[data_root],
        lease_seconds=30,
        reconcile_interval_seconds=0.05,
        requeue_after_seconds=0.3,
        stop_grace_seconds=0.2,
        leader_ttl_seconds=1.0,
        shutdown_grace_seconds=0.5,
        generate_timeout_seconds=1.0,
    )


@pytest.fixture
async def plane(plane_settings: ControlPlaneSettings) -> AsyncIterator[ControlPlane]:
    """A control plane that serves."""
    plane = ControlPlane(ServiceState(plane_settings), plane_settings.accepted_tokens())
    await plane.start()
    yield plane
    await plane.stop(0.5)


@pytest.fixture
async def stubs(plane: ControlPlane) -> AsyncIterator[Stubs]:
    """Its client."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        yield Stubs(channel)


@pytest.fixture
def quiet_port() -> int:
    """A port for a server that is down for a while."""
    return free_port()


@pytest.fixture
def worker_connection(redis_url: str) -> Iterator[Connection]:
    """A worker's own connection."""
    connection = Connection.open(redis_url)
    yield connection
    connection.close()


@pytest.fixture
def attempts(worker_connection: Connection) -> AttemptStore:
    """What a worker writes with."""
    return AttemptStore(worker_connection)


@pytest.fixture
def registry(worker_connection: Connection) -> WorkerRegistry:
    """How a worker reports itself."""
    return WorkerRegistry(worker_connection)
