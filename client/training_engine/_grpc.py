"""What calls look like over gRPC, and what its answers and failures mean; no I/O here.

Methods are called by name, so that a module of stubs is imported only when one of its calls is
made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from training_engine import _version, errors, proxies
from training_engine._call import Call
from training_engine._options import Options
from training_engine.error_details import error_details
from training_engine.errors import InvalidArgumentError, TrainingEngineError
from training_engine.messages import message_to_plain, plain_to_message
from training_engine.records import Plain

T = TypeVar("T")

_PACKAGE = "training_engine.v1"
_MEBIBYTE = 1 << 20
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    # Dead peers are noticed within 40 s; the server allows pings every 20 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # The largest answers are a page of 10,000 points, about 1.5 MiB, and chunks of 1 MiB.
    ("grpc.max_receive_message_length", 16 * _MEBIBYTE),
    # A control plane that was restarted is found again at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name: how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.primary_user_agent", f"training-engine-sdk/{_version.__version__}"),
]

_BROKEN_CONNECTION = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed")


@cache
def method_types(rpc: str) -> tuple[type[Message], type[Message]]:
    """Return the types of a method's request and answer."""
    service_name, method_name = rpc.split("/")
    module = service_name.removesuffix("Service").lower()
    stubs = importlib.import_module(f"{_PACKAGE}.{module}_pb2")
    method = stubs.DESCRIPTOR.services_by_name[service_name].methods_by_name[method_name]
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)


def route(call: Call) -> tuple[str, dict[str, Callable[..., Any]]]:
    """Return the method's full name and its (de)serializers."""
    _, answer = method_types(call.rpc)
    serializers: dict[str, Callable[..., Any]] = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": answer.FromString,
    }
    return f"/{_PACKAGE}.{call.rpc}", serializers


def request(call: Call, **more: Any) -> Message:
    """Return the message to send, with fields beyond the call's own."""
    return message_of(method_types(call.rpc)[0], {**call.message, **more})


def message_of(kind: type[Message], plain: Plain) -> Message:
    """Return a message to send; None means absent.

    Raises:
        InvalidArgumentError: A key or a value does not fit the message.
    """
    try:
        return plain_to_message(kind, plain)
    except ValueError as error:
        raise InvalidArgumentError(f"the request cannot be sent: {error}") from error


def answer(call: Call, message: Message) -> Plain:
    """Return what was answered; the field that holds it all is unwrapped."""
    plain = message_to_plain(message)
    inner = plain.pop(call.answer, None) if call.answer else None
    return {**plain, **inner} if inner is not None else plain


def piece_or_url(message: Any) -> tuple[int, bytes, str]:
    """Return a piece of a download with the offset at which it begins, or where the file is."""
    return message.offset, message.data, message.url


def start(cursor: str, after_step: int | None) -> Plain:
    """Say where a stream begins: a cursor wins, for it knows about rewinds too."""
    return {"after": cursor} if cursor else {"after_step": after_step}


def to_error(error: grpc.RpcError, address: str) -> TrainingEngineError:
    """Return the SDK's exception for a failed call."""
    failed = cast("grpc.Call", error)
    details = error_details(error)
    code = failed.code()
    text = failed.details() or code.name.lower()
    if details.reason:
        return errors.error_for(
            details.reason.lower().removeprefix("error_reason_"),
            text,
            fallback=errors.class_for_code(code.name),
            errors=details.problems,
            retry_after=details.retry_after,
        )
    return _bare_error(code, text, address)


def _bare_error(code: grpc.StatusCode, text: str, address: str) -> TrainingEngineError:
    """Return an error that gRPC itself, or a server that is none of ours, has made."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        too_large = "larger than max" in text.lower()
        return (errors.PayloadTooLargeError if too_large else errors.RateLimitedError)(text)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return TrainingEngineError(
            f"{address} does not know this call ({text}); it may be older than this SDK",
            code="unimplemented",
        )
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        broken = any(sign in text for sign in _BROKEN_CONNECTION)
        return (errors.UnavailableError if broken else errors.InternalError)(text)
    if "Failed parsing HTTP/2" in text or "http1" in text:
        return errors.InvalidArgumentError(
            f"{address} speaks HTTP, not gRPC; for a gateway use --url http://{address}, or "
            f"TrainingEngine.over_rest('http://{address}')"
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return errors.UnavailableError(
            f"no control plane at {address}; {_remedy_for_absence(address)}"
        )
    return errors.class_for_code(code.name)(text)


def _remedy_for_absence(address: str) -> str:
    if variable := proxies.grpc_variable(address):
        return (
            f"it was asked through the proxy that {variable} names; add "
            f"{proxies.host_of(address)} to no_proxy for a connection without it"
        )
    return "start one with `training-engine up`"


def channel_options(address: str) -> list[tuple[str, Any]]:
    """Return the options of a channel to this address."""
    return [*_CHANNEL_OPTIONS, *proxies.grpc_options(address)]


def metadata(options: Options) -> tuple[tuple[str, str], ...]:
    """Return the metadata of every call: the access token, where there is one."""
    return (("authorization", f"Bearer {options.token}"),) if options.token else ()
