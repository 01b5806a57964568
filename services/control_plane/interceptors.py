"""Turns what handlers raise into the one error model, for unary and streaming calls alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from control_plane.errors import to_rpc_error, watcher_too_slow
from control_plane.telemetry import CALLS

Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]
_WATCHES = ("WatchJob", "StreamMetrics")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler once and remembers the wrapped one: calls pay for no new objects.

    Args:
        watcher_patience: seconds that a watch of a job may leave a message unread; None for any.
    """

    def __init__(self, watcher_patience: float | None = None) -> None:
        self._watcher_patience = watcher_patience
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
        wrapped = self._wrapped[method] = _wrap(handler, name, patience)
        return wrapped


def _wrap(handler: Handler, name: str, patience: float | None) -> Handler:
    codec = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.request_streaming and handler.response_streaming:
        return handler  # reflection only
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_guard(handler.stream_unary, name), **codec)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _guard_stream(handler.unary_stream, name, patience), **codec
        )
    return grpc.unary_unary_rpc_method_handler(_guard(handler.unary_unary, name), **codec)


def _guard(behavior: Callable[[Any, _Context], Awaitable[Any]], name: str) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> Any:
        try:
            response = await behavior(request, context)
        except grpc.aio.AbortError:
            raise  # the handler has given its status itself
        except Exception as error:
            failure = to_rpc_error(error)
        else:
            answered.inc()
            return response
        CALLS.labels(name, failure.reason).inc()
        await context.abort_with_status(failure.to_grpc_status())

    return guarded


def _guard_stream(
    behavior: Callable[[Any, _Context], AsyncGenerator[Any]], name: str, patience: float | None
) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> None:
        try:
            # Closed at once when the client leaves, so that nobody reads for nobody.
            async with aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    async with _in_time(patience):
                        await context.write(response)
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
        except grpc.aio.InternalError:  # it left with what it had not read
            raise asyncio.CancelledError from None

    return guarded


@asynccontextmanager
async def _in_time(seconds: float | None) -> AsyncIterator[None]:
    """A write waits only where the client has left megabytes unread before it."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise watcher_too_slow(seconds or 0) from None
