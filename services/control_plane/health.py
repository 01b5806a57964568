"""Decides whether calls can be served, from Redis and the process's own duties."""

from __future__ import annotations

from collections.abc import Sequence

from grpc_health.v1 import health_pb2

from control_plane.health_service import HealthService
from job_store.connection import AsyncConnection
from service_runtime.duties import Duties

_REDIS = "Redis"
LIVENESS = "liveness"
"""A name to ask health for: SERVING while the process answers at all, whatever Redis does."""


class HealthMonitor:
    """Shows SERVING while Redis takes writes and every duty of the process succeeds.

    It shows NOT_SERVING otherwise, and once the process is about to end.
    """

    def __init__(
        self, connection: AsyncConnection, duties: Duties, services: Sequence[str]
    ) -> None:
        self.servicer = HealthService()
        self._connection = connection
        self._duties = duties
        self._services = ("", *services)
        self._serving: bool | None = None

    async def check(self) -> None:
        """Ping Redis, and show the status that follows from it and from the other duties."""
        try:
            await self._connection.ping()
        except Exception as error:
            self._duties.failed(_REDIS, error)
        else:
            self._duties.done(_REDIS)
        self.servicer.problem = self._duties.problem
        await self._show(serving=not self.servicer.problem)

    async def _show(self, *, serving: bool) -> None:
        if serving is self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse
        for service in self._services:
            self.servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
        self.servicer.set(LIVENESS, status.SERVING)

    async def leave(self) -> None:
        """Show NOT_SERVING from now on, so that balancers send no new calls; end every watch."""
        self.servicer.leave()
