"""Turns what handlers raise into the one error model, for unary and streaming calls alike."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from control_plane.errors import to_rpc_error
from control_plane.telemetry import CALLS

Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler once and remembers the wrapped one: calls pay for no new objects."""

    def __init__(self) -> None:
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
        wrapped = self._wrapped[method] = _wrap(handler, method.rpartition("/")[2])
        return wrapped


def _wrap(handler: Handler, name: str) -> Handler:
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
            _guard_stream(handler.unary_stream, name), **codec
        )
    return grpc.unary_unary_rpc_method_handler(_guard(handler.unary_unary, name), **codec)


def _guard(behavior: Callable[[Any, _Context], Awaitable[Any]], name: str) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> Any:
        try:
            response = await behavior(request, context)
        except Exception as error:
            failure = to_rpc_error(error)
        else:
            answered.inc()
            return response
        CALLS.labels(name, failure.reason).inc()
        await context.abort_with_status(failure.to_grpc_status())

    return guarded


def _guard_stream(behavior: Callable[[Any, _Context], AsyncGenerator[Any]], name: str) -> Any:
    answered = CALLS.labels(name, "")

    async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            # Closed at once when the client leaves, so that nobody reads for nobody.
            async with aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:
            failure = to_rpc_error(error)
        else:
            answered.inc()
            return
        CALLS.labels(name, failure.reason).inc()
        await context.abort_with_status(failure.to_grpc_status())

    return guarded
