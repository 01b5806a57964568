"""Counts requests and measures their times by route, for Prometheus.

Prometheus keeps a time series for each combination of labels, so every label has few values: a
route's template instead of its path, `other` for an unknown method.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """The gateway's measurements, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "training_engine_gateway_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "training_engine_gateway_first_byte_seconds",
            "Seconds from a request to the head of its answer",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.streams = Gauge(
            "training_engine_gateway_open_streams",
            "Event streams open now",
            registry=self.registry,
        )


class OpenStreams:
    """How many event streams are open: `count` for the gateway's limit, a gauge for Prometheus."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.count = 0
        self._gauge = telemetry.streams

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield `chunks`, and count the stream as open until they end."""
        self.count += 1
        self._gauge.set(self.count)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            self.count -= 1
            self._gauge.set(self.count)
            await chunks.aclose()  # type: ignore[attr-defined]


class TelemetryMiddleware:
    """Counts each HTTP response and measures the time until its head is sent.

    It is the outermost ASGI middleware, so its times include what the others do.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                method, route = _method(scope), _template(scope)
                elapsed = time.perf_counter() - started
                self._telemetry.requests.labels(method, route, message["status"]).inc()
                self._telemetry.seconds.labels(method, route).observe(elapsed)
            await send(message)

        await self._app(scope, receive, measured)


def _method(scope: Scope) -> str:
    """Return the request's method; `other` for a word that a client made up."""
    method = str(scope["method"])
    return method if method in _METHODS else "other"


def _template(scope: Scope) -> str:
    """Return the route's path with the names of its parameters, not with the ids of a request."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else "other"
