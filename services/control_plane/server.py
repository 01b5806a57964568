"""The control plane's server: its services, its options, its graceful end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from artifact_store import RecordsLostError
from control_plane.authentication import AuthenticationInterceptor
from control_plane.checkpoints import CheckpointServicer
from control_plane.config_service import ConfigServicer
from control_plane.datasets import DatasetServicer
from control_plane.generation import GenerationServicer
from control_plane.health import HealthMonitor
from control_plane.interceptors import ErrorInterceptor
from control_plane.jobs import JobServicer
from control_plane.journal import JournalCompletion
from control_plane.metrics import MetricsServicer
from control_plane.reconciler import Reconciler
from control_plane.state import ServiceState
from control_plane.sweeps.service import SweepServicer
from control_plane.telemetry import count_jobs
from control_plane.workers import WorkerServicer
from job_store.errors import StoreUnavailableError
from service_runtime.duties import Duties
from service_runtime.logs import get_logger
from service_runtime.settings import SettingsError
from service_runtime.tokens import TokenVerifier
from training_engine.v1 import (
    checkpoint_pb2,
    checkpoint_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    sweep_pb2,
    sweep_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)

_log = get_logger("control_plane")

_CHECK_SECONDS = 1.0
_COUNT_SECONDS = 5.0
_SERIES_SECONDS = 10.0
_SERVICE_NAMES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (config_pb2, "ConfigService"),
        (job_pb2, "JobService"),
        (metrics_pb2, "MetricsService"),
        (checkpoint_pb2, "CheckpointService"),
        (dataset_pb2, "DatasetService"),
        (generation_pb2, "GenerationService"),
        (sweep_pb2, "SweepService"),
        (worker_pb2, "WorkerService"),
    )
)


class ControlPlane:
    """The server and its duties; `stop` lets running calls finish."""

    def __init__(self, state: ServiceState, tokens: list[str]) -> None:
        self.state = state
        self._duties = Duties(expected=(StoreUnavailableError, RecordsLostError))
        self._health = HealthMonitor(state.connection, self._duties, _SERVICE_NAMES)
        self._server = _server(state, tokens)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    async def start(self) -> None:
        """Listen, serve calls, and begin the duties.

        Raises:
            SettingsError: The address cannot be used.
        """
        self._add_services()
        self.port = self._bind()
        await self.state.look_for_artifacts()
        await self._health.check()
        await self._server.start()
        self._tasks = [asyncio.create_task(duty) for duty in self._begin_duties()]

    def _begin_duties(self) -> Iterator[Coroutine[Any, Any, None]]:
        keep, stopping = self._duties.keep, self._stopping
        count = partial(count_jobs, self.state.jobs)
        reconciler = Reconciler(self.state, owner=secrets.token_hex(16))
        yield keep("health", self._health.check, seconds=_CHECK_SECONDS, stopping=stopping)
        check, journal = self.state.check_records, JournalCompletion(self.state)
        yield keep("records", check, seconds=_CHECK_SECONDS, stopping=stopping)
        yield keep("journal", journal.run, seconds=_COUNT_SECONDS, stopping=stopping)
        yield keep("job counts", count, seconds=_COUNT_SECONDS, stopping=stopping)
        copy = self.state.series.keep_up
        yield keep("series", copy, seconds=_SERIES_SECONDS, stopping=stopping)
        yield reconciler.run(self._duties, stopping)

    def _add_services(self) -> None:
        state, server = self.state, self._server
        config_pb2_grpc.add_ConfigServiceServicer_to_server(ConfigServicer(state), server)
        job_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(state), server)
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(MetricsServicer(state), server)
        checkpoint_pb2_grpc.add_CheckpointServiceServicer_to_server(
            CheckpointServicer(state), server
        )
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(state), server)
        generation_pb2_grpc.add_GenerationServiceServicer_to_server(
            GenerationServicer(state), server
        )
        sweep_pb2_grpc.add_SweepServiceServicer_to_server(SweepServicer(state), server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerServicer(state), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        names = (*_SERVICE_NAMES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)

    def _bind(self) -> int:
        settings = self.state.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            return self._server.add_insecure_port(f"{host}:{settings.port}")
        except RuntimeError:
            raise SettingsError(
                f"{settings.host}:{settings.port} cannot be listened on: another process uses it, "
                "or the address is not of this machine; choose another --port or --host"
            ) from None

    async def stop(self, grace: float) -> None:
        """Show NOT_SERVING, then end the streams, then let calls finish for `grace` seconds."""
        await self._health.leave()
        self.state.shutting_down = True
        await self.state.feeds.close()
        await self._server.stop(grace)
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self.state.close()


OPTIONS: list[tuple[str, int]] = [
    # Without this a second server binds the same port in silence.
    ("grpc.so_reuseport", 0),
    # Pings that come sooner, thrice in a row, are answered with GOAWAY; the default is five
    # minutes. grpc-go's clients ping every 10 s at most, and timers run early.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


def _server(state: ServiceState, tokens: list[str]) -> grpc.aio.Server:
    settings = state.settings
    verifier = TokenVerifier(tokens)
    guards = [AuthenticationInterceptor(verifier)] if verifier.required else []
    return grpc.aio.server(
        interceptors=[
            *guards,
            ErrorInterceptor(settings.watcher_patience_seconds, state.require_records),
        ],
        options=[
            *OPTIONS,
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
        ],
    )
