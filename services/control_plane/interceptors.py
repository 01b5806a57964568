"""Turns exceptions of handlers into the one error model, for unary and streaming calls alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from control_plane.errors import to_rpc_error, watcher_too_slow
from control_plane.telemetry import CALLS

Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]
_WATCHES = ("WatchJob", "StreamMetrics")
_OWN_PACKAGE = "/training_engine."


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler once and remembers the wrapped one, so that calls make no new objects.

    Args:
        watcher_patience: seconds that a watch of a job may leave a message unread; None for any.
        require: raises where a call cannot be served now; health and reflection always are.
    """

    def __init__(
        self, watcher_patience: float | None = None, require: Callable[[], None] = lambda: None
    ) -> None:
        self._watcher_patience = watcher_patience
        self._require = require
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # gRPC itself answers UNIMPLEMENTED
        name = method.rpartition("/")[2]
        patience = self._watcher_patience if name in _WATCHES else None
        require = self._require if method.startswith(_OWN_PACKAGE) else lambda: None
        wrapped = self._wrapped[method] = _wrap(handler, name, patience, require)
        return wrapped


def _wrap(
    handler: Handler, name: str, patience: float | None, require: Callable[[], None]
) -> Handler:
    codec = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.request_streaming and handler.response_streaming:
        return handler  # reflection only
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(
            _guard(handler.stream_unary, name, require), **codec
        )
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _guard_stream(handler.unary_stream, name, patience, require), **codec
        )
    return grpc.unary_unary_rpc_method_handler(_guard(handler.unary_unary, name, require), **codec)


def _guard(
    behavior: Callable[[Any, _Context], Awaitable[Any]], name: str, require: Callable[[], None]
) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> Any:
        try:
            require()
            response = await behavior(request, context)
        except grpc.aio.AbortError:
            raise  # the handler has set its status itself
        except Exception as error:
            failure = to_rpc_error(error)
        else:
            answered.inc()
            return response
        CALLS.labels(name, failure.reason).inc()
        await context.abort_with_status(failure.to_grpc_status())

    return guarded


def _guard_stream(
    behavior: Callable[[Any, _Context], AsyncGenerator[Any]],
    name: str,
    patience: float | None,
    require: Callable[[], None],
) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> None:
        try:
            require()
            # Closed as soon as the client leaves, so that its feed is read no further.
            async with aclosing(behavior(request, context)) as responses:
                await _send(responses, context, patience)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            failure = to_rpc_error(error)
        else:
            answered.inc()
            return
        CALLS.labels(name, failure.reason).inc()
        try:
            await context.abort_with_status(failure.to_grpc_status())
        except grpc.aio.InternalError:  # the client left before it had read everything
            raise asyncio.CancelledError from None

    return guarded


async def _send(responses: AsyncGenerator[Any], context: _Context, patience: float | None) -> None:
    if patience is None:
        async for response in responses:
            await context.write(response)
        return
    with _Watchdog(patience) as watchdog:
        async for response in responses:
            watchdog.begun = watchdog.clock()
            await context.write(response)
            watchdog.begun = None


class _Watchdog:
    """Ends a stream whose write takes too long, with `watcher_too_slow`.

    A write waits only where the client has left megabytes unread before it. One timer a stream
    looks at the write under way: a deadline for each message would cost as much as the message.
    """

    _LOOKS = 4
    """Looks in one patience, so that a stream ends up to a quarter of it late."""

    def __init__(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        self.clock, self._call_later = loop.time, loop.call_later
        self.begun: float | None = None
        """When the write under way began, by `clock`."""
        self._patience, self._expired = patience, False
        self._task = asyncio.current_task()

    def __enter__(self) -> _Watchdog:
        self._timer = self._call_later(self._patience / self._LOOKS, self._look)
        return self

    def _look(self) -> None:
        if self.begun is None or self.clock() - self.begun < self._patience:
            self._timer = self._call_later(self._patience / self._LOOKS, self._look)
        elif self._task is not None:
            self._expired = self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if not (self._expired and kind is asyncio.CancelledError and self._task is not None):
            return
        if self._task.uncancel() == 0:  # else the client has left as well
            raise watcher_too_slow(self._patience)
