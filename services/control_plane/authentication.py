"""Lets a gRPC call in only with a bearer token that is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from control_plane.errors import call_error
from service_runtime.tokens import TokenVerifier

# Probes of an orchestrator carry no token, and health tells no secret.
_OPEN = ("/grpc.health.v1.Health/",)


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token; leave it out where no token is configured."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN):
            return handler
        if self._verifier.accepts(_authorization(handler_call_details)):
            return handler
        return _refuse(handler)


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


def _refuse(handler: Any) -> Any:
    """A handler of the same shape as `handler`, which only refuses."""
    error = call_error(
        "UNAUTHENTICATED",
        "the call carries no known token; send the metadata `authorization: Bearer TOKEN` "
        "with a token that the control plane was started with",
    )

    async def refuse_unary(_request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort_with_status(error.to_grpc_status())

    async def refuse_stream(
        _request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        await refuse_unary(_request, context)
        yield None  # makes this a generator; never reached

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(handler.request_streaming, handler.response_streaming)]
    return make(
        refuse_stream if handler.response_streaming else refuse_unary,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
