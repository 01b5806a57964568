"""The gateway's connection to the control plane: one channel, and its stubs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from fastapi import Request
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service_runtime.duties import NOT_READY_METADATA
from training_engine import proxies
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

# A page may hold 10,000 log lines, far beyond gRPC's usual 4 MiB.
_MAX_ANSWER_BYTES = 64 << 20

_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's own backoff grows to two minutes: far too long after a short restart.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

PROTOBUF = "application/protobuf"
"""Media type of an answer that is the call's message in protobuf's binary form."""

Metadata = tuple[tuple[str, str], ...]


class ControlPlane:
    """Stubs of every service over one channel. Make it inside a running event loop."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self.address = address
        self._timeout = timeout_seconds
        channel = grpc.aio.insecure_channel(
            address, options=[*_CHANNEL_OPTIONS, *proxies.grpc_options(address)]
        )
        self._channel = channel
        self.configs = config_pb2_grpc.ConfigServiceStub(channel)
        self.jobs = job_pb2_grpc.JobServiceStub(channel)
        self.metrics = metrics_pb2_grpc.MetricsServiceStub(channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
        self.generation = generation_pb2_grpc.GenerationServiceStub(channel)
        self.sweeps = sweep_pb2_grpc.SweepServiceStub(channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    async def call(self, method: Callable[..., Any], message: Any, metadata: Metadata) -> Any:
        """Make one unary call, with the deadline of all calls.

        Raises:
            AioRpcError: The control plane refuses it, or does not answer.
        """
        return await method(message, timeout=self._timeout, metadata=metadata)

    async def problem(self) -> str:
        """Return why the control plane cannot be used now; empty where it serves."""
        call = self._health.Check(health_pb2.HealthCheckRequest(), timeout=min(2.0, self._timeout))
        try:
            answer = await call
        except grpc.aio.AioRpcError:
            return (
                f"no control plane answers at {self.address}; "
                "wait where one is starting; else start one, or point --control-plane-address at it"
            )
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return ""
        for key, value in await call.trailing_metadata() or ():
            if key == NOT_READY_METADATA and isinstance(value, bytes) and value:
                return f"the control plane is not ready: {value.decode(errors='replace')}"
        return f"the control plane at {self.address} is starting or ending; try again"

    async def close(self) -> None:
        """Close the channel; open streams end."""
        await self._channel.close()


class Caller:
    """Calls the control plane for one request, with the credentials of its sender."""

    def __init__(self, request: Request) -> None:
        self.control_plane: ControlPlane = request.app.state.control_plane
        self.takes_protobuf = PROTOBUF in request.headers.get("accept", "")
        authorization = request.headers.get("authorization", "")
        self.metadata: Metadata = (
            (("authorization", authorization),) if _fits_metadata(authorization) else ()
        )

    async def call(self, method: Callable[..., Any], message: Any) -> Any:
        """Make one unary call.

        Raises:
            AioRpcError: The call failed; the error handler answers with a problem.
        """
        return await self.control_plane.call(method, message, self.metadata)


def _fits_metadata(value: str) -> bool:
    """Return whether gRPC can send the value: printable ASCII, as every known token is."""
    return bool(value) and value.isascii() and value.isprintable()
