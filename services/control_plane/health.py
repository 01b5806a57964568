"""Tells whether calls can be served: grpc.health.v1 follows Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from grpc_health.v1 import health, health_pb2

from job_store.connection import AsyncConnection
from job_store.errors import StoreUnavailable
from service_runtime.logs import get_logger
from service_runtime.process import wait_for_event

_log = get_logger("control_plane")
_CHECK_SECONDS = 1.0
LIVENESS = "liveness"
"""A name to ask health for: SERVING while the process answers at all, whatever Redis does."""


class HealthMonitor:
    """SERVING while Redis answers, NOT_SERVING while it does not and once the end is near."""

    def __init__(self, connection: AsyncConnection, services: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._connection = connection
        self._services = ("", *services)
        self._serving: bool | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask Redis every second until told to stop."""
        while not stopping.is_set():
            await self.check()
            await wait_for_event(stopping, _CHECK_SECONDS)

    async def check(self) -> None:
        """Ask Redis once."""
        try:
            await self._connection.ping()
        except StoreUnavailable as error:
            if self._serving is not False:
                _log.warning("waiting for Redis; calls are refused until then", why=str(error))
            await self._set(False)
        else:
            if self._serving is False:
                _log.info("Redis answers; calls are served")
            await self._set(True)

    async def _set(self, serving: bool) -> None:
        if serving is self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
        await self.servicer.set(LIVENESS, status.SERVING)

    async def leave(self) -> None:
        """NOT_SERVING for good: balancers send no new call here."""
        await self.servicer.enter_graceful_shutdown()
