"""Lets a gRPC call in only with a bearer token that is known, and slows clients that guess.

The rules are the gateway's: a token that is long enough cannot be guessed, so it is let in whatever
its client sent before. A short one is not looked at while its client has to wait after wrong ones.

A gateway that was started with the same tokens checks its callers' tokens first and passes no wrong
one on. So its address, which all its callers share here, never has to wait for their wrong tokens.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc

from control_plane.errors import call_error
from control_plane.rpc_errors import RpcError
from service_runtime.failed_attempts import FailedAttempts
from service_runtime.logs import get_logger
from service_runtime.tokens import TokenVerifier, bearer_token

_log = get_logger("authentication")
# Probes of an orchestrator carry no token, and health reveals no secret.
_OPEN = ("/grpc.health.v1.Health/",)
_Context = grpc.aio.ServicerContext[Any, Any]


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token; leave it out where no token is configured."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._failures = FailedAttempts()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN):
            return handler
        token = bearer_token(_authorization(handler_call_details))
        if self._verifier.knows(token, unguessable_only=self._failures.has_any()):
            return handler
        # Only the handler knows the client, from its context.
        return behind_refusal(
            handler, lambda context: self._refusal(token, client_of(context.peer()))
        )

    def _refusal(self, token: str, client: str) -> RpcError | None:
        """Return why `client` is refused with this token; None where it is let in."""
        if not token:
            return _unknown()
        wait = self._failures.seconds_to_wait(client)
        if wait > 0:
            return _too_many(client, math.ceil(wait))
        if self._verifier.knows(token):
            return None
        self._failures.failed(client)
        if self._failures.seconds_to_wait(client) > 0:
            _log.warning("a client has sent many wrong tokens and has to wait", client=client)
        return _unknown()


def client_of(peer: str) -> str:
    """Return the address in gRPC's name of a peer: `ipv4:10.0.0.1:5000`, `ipv6:%5B::1%5D:5000`."""
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return peer  # a socket of this machine
    return rest.rpartition(":")[0].strip("[]")


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


def _unknown() -> RpcError:
    return call_error(
        "UNAUTHENTICATED",
        "the call carries no known token; send the metadata `authorization: Bearer TOKEN` "
        "with a token that the control plane was started with",
    )


def _too_many(client: str, seconds: int) -> RpcError:
    error = call_error(
        "RATE_LIMITED", f"too many wrong tokens came from {client}; try again in {seconds} s"
    )
    error.retry_after_seconds = seconds
    return error


def behind_refusal(handler: Any, refusal: Callable[[_Context], RpcError | None]) -> Any:
    """Return a handler of the same shape as `handler`, which refuses first where it has to."""
    shape = (handler.request_streaming, handler.response_streaming)
    kind, make = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }[shape]
    behavior = getattr(handler, kind)

    async def guarded(request: Any, context: _Context) -> Any:
        if (error := refusal(context)) is not None:
            await context.abort_with_status(error.to_grpc_status())
        answer = behavior(request, context)
        if inspect.isasyncgen(answer):  # of a stream; others write to the context themselves
            return await _write_all(answer, context)
        return await answer

    return make(
        guarded,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def _write_all(answers: AsyncIterator[Any], context: _Context) -> None:
    async for answer in answers:
        await context.write(answer)
