"""Serves `grpc.health.v1` to all clients, with a token or without: the status that was set last.

gRPC's own servicer for asyncio has no `List`, writes to its watchers under a lock that `set` needs
(one that reads nothing would keep every status as it is), and holds any number of watches open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.errors import call_error, shutting_down
from service_runtime.duties import NOT_READY_METADATA

MOST_WATCHES = 256
"""Open at a time. They need no token, and each holds a stream."""

_LONGEST_REASON = 1000  # metadata beyond 8 KiB breaks calls
_Context = grpc.aio.ServicerContext[Any, Any]
_Status = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The status of each service by its name; the empty name is the server as a whole."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        """Set at the next change, and then replaced."""
        self._leaving = False
        self._watches = 0
        self.problem = ""
        """What is wrong: goes with each NOT_SERVING of `Check`, in its metadata."""

    def set(self, service: str, status: int) -> None:
        """Set the status of a service; after `leave` this has no effect."""
        if not self._leaving and self._statuses.get(service) != status:
            self._statuses[service] = status
            self._wake()

    def leave(self) -> None:
        """Answer NOT_SERVING from now on, and end every watch."""
        self._leaving = True
        self._statuses = dict.fromkeys(self._statuses, _Status.NOT_SERVING)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._statuses:
            names = ", ".join(name or '""' for name in self._statuses)
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"`service` is {request.service[:80]!r}, which is not served; known are {names}",
            )
        status = self._statuses[request.service]
        if status == _Status.NOT_SERVING:
            text = self.problem[:_LONGEST_REASON].encode()
            context.set_trailing_metadata(((NOT_READY_METADATA, text),))
        return _Status(status=status)

    async def List(
        self, request: health_pb2.HealthListRequest, context: _Context
    ) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(
            statuses={name: _Status(status=status) for name, status in self._statuses.items()}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the status now and at each change.

        A slow reader gets the newest status only.
        """
        if self._watches >= MOST_WATCHES:
            message = f"{MOST_WATCHES} watches are open, which is the most; try later, or Check"
            raise call_error("RATE_LIMITED", message)
        self._watches += 1
        try:
            last_sent = None
            while True:
                changed, leaving = self._changed, self._leaving
                status = self._statuses.get(request.service, _Status.SERVICE_UNKNOWN)
                if status != last_sent:
                    last_sent = status
                    yield _Status(status=status)
                if leaving:
                    raise shutting_down()
                await changed.wait()
        finally:
            self._watches -= 1
