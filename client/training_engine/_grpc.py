"""The gRPC transports, blocking and asyncio, and what gRPC's errors mean.

Methods are called by name, so that a module of stubs is imported only when one of its calls is
made.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from training_engine import _version, errors, proxies
from training_engine._calls import Call
from training_engine._files import chunks_of
from training_engine._options import Options, checked_address
from training_engine._plain import message_to_plain, plain_to_message
from training_engine.call_status import FirstStatus
from training_engine.errors import FieldProblem, TrainingEngineError
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

_FALLBACKS: dict[grpc.StatusCode, type[TrainingEngineError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: errors.ConflictError,
    grpc.StatusCode.ABORTED: errors.ConflictError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    # The server ended a stream of ours; ours alone are cancelled by closing the iterator.
    grpc.StatusCode.CANCELLED: errors.UnavailableError,
    grpc.StatusCode.DATA_LOSS: errors.ArtifactDamagedError,
}
_BROKEN_CONNECTION = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed")


@cache
def _method_types(rpc: str) -> tuple[type[Message], type[Message]]:
    service_name, method_name = rpc.split("/")
    module = service_name.removesuffix("Service").lower()
    stubs = importlib.import_module(f"{_PACKAGE}.{module}_pb2")
    method = stubs.DESCRIPTOR.services_by_name[service_name].methods_by_name[method_name]
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)


def _route(call: Call) -> tuple[str, dict[str, Callable[..., Any]]]:
    """Return the method's full name and its (de)serializers."""
    _, answer = _method_types(call.rpc)
    serializers: dict[str, Callable[..., Any]] = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": answer.FromString,
    }
    return f"/{_PACKAGE}.{call.rpc}", serializers


def _request(call: Call, **more: Any) -> Message:
    return plain_to_message(_method_types(call.rpc)[0], {**call.message, **more})


def _answer(call: Call, message: Message) -> Plain:
    plain = message_to_plain(message)
    inner = plain.pop(call.unwrap, None) if call.unwrap else None
    return {**plain, **inner} if inner is not None else plain


def _piece(message: Any) -> tuple[int, bytes]:
    return message.offset, message.data


def _start(cursor: str, after_step: int | None) -> Plain:
    """Where a stream begins: a cursor wins, for it knows about rewinds too."""
    return {"after": cursor} if cursor else {"after_step": after_step}


def _parts(call: Call, chunks: Iterable[bytes]) -> Iterator[Message]:
    kind, _ = _method_types(call.rpc)
    yield plain_to_message(kind, {"header": call.message})
    for chunk in chunks:
        yield kind(data=chunk)


def to_error(error: grpc.RpcError, address: str) -> TrainingEngineError:
    """Return the SDK's exception for a failed call."""
    failed = cast("grpc.Call", error)
    reason, problems, retry_after = _details(failed)
    code = failed.code()
    text = failed.details() or code.name.lower()
    if reason:
        kind = _FALLBACKS.get(code, errors.InternalError)
        return errors.error_for(
            reason, text, fallback=kind, errors=problems, retry_after=retry_after
        )
    return _bare_error(code, text, address)


def _bare_error(code: grpc.StatusCode, text: str, address: str) -> TrainingEngineError:
    """An error that gRPC itself, or a server that is none of ours, has made."""
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
    return _FALLBACKS.get(code, errors.InternalError)(text)


def _remedy_for_absence(address: str) -> str:
    if variable := proxies.grpc_variable(address):
        return (
            f"it was asked through the proxy that {variable} names; add "
            f"{proxies.host_of(address)} to no_proxy for a connection without it"
        )
    return "start one with `training-engine up`"


def _details(failed: grpc.Call) -> tuple[str, list[FieldProblem], float | None]:
    """Return the reason in lower case, the fields at fault and the seconds to wait."""
    try:
        status = rpc_status.from_call(failed)
    except ValueError:  # the rich status contradicts the plain one: trust the plain one
        status = None
    reason, problems, retry_after = "", [], None
    for packed in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            reason = info.reason.lower().removeprefix("error_reason_")
        elif packed.Unpack(bad):
            problems = [FieldProblem(v.field, v.description) for v in bad.field_violations]
        elif packed.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return reason, problems, retry_after


def _channel_options(address: str) -> list[tuple[str, Any]]:
    return [*_CHANNEL_OPTIONS, *proxies.grpc_options(address)]


def _metadata(options: Options) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {options.token}"),) if options.token else ()


class GrpcTransport:
    """Talks to the control plane and blocks."""

    def __init__(self, address: str, options: Options) -> None:
        address = checked_address(address)
        self._address = address
        self._options = options
        self._metadata = _metadata(options)
        settings = _channel_options(address)
        self._channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), settings)
            if options.tls
            else grpc.insecure_channel(address, settings)
        )

    def unary(self, call: Call) -> Plain:
        name, serializers = _route(call)
        method = self._channel.unary_unary(name, **serializers)
        try:
            answer = method(_request(call), timeout=self._options.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        return _answer(call, answer)

    def _stream(self, call: Call, read: Callable[[Message], T], **more: Any) -> Iterator[T]:
        name, serializers = _route(call)
        method = self._channel.unary_stream(name, **serializers)
        stream = method(_request(call, **more), metadata=self._metadata)
        try:
            for message in stream:
                yield read(message)
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        finally:
            stream.cancel()

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        return self._stream(call, message_to_plain, **_start(cursor, after_step))

    def tokens(self, call: Call) -> Iterator[Plain]:
        return self._stream(call, message_to_plain)

    def download(self, call: Call, offset: int) -> Iterator[tuple[int, bytes]]:
        return self._stream(call, _piece, offset=offset)

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        name, serializers = _route(call)
        method = self._channel.stream_unary(name, **serializers)
        try:
            answer = method(_parts(call, chunks_of(path)), metadata=self._metadata)
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        return _answer(call, answer)

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcTransport:
    """Talks to the control plane under asyncio."""

    def __init__(self, address: str, options: Options) -> None:
        address = checked_address(address)
        self._address = address
        self._options = options
        self._metadata = _metadata(options)
        self._channel_in_use: grpc.aio.Channel | None = None

    @property
    def _channel(self) -> grpc.aio.Channel:
        # Made on first use: an aio channel belongs to the event loop that it is made in.
        if self._channel_in_use is None:
            settings = _channel_options(self._address)
            self._channel_in_use = (
                grpc.aio.secure_channel(self._address, grpc.ssl_channel_credentials(), settings)
                if self._options.tls
                else grpc.aio.insecure_channel(self._address, settings)
            )
        return self._channel_in_use

    async def unary(self, call: Call) -> Plain:
        name, serializers = _route(call)
        method = self._channel.unary_unary(name, **serializers)
        try:
            answer = await method(
                _request(call), timeout=self._options.timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        return _answer(call, answer)

    async def _stream(
        self, call: Call, read: Callable[[Message], T], **more: Any
    ) -> AsyncIterator[T]:
        name, serializers = _route(call)
        method = self._channel.unary_stream(name, **serializers)
        stream = method(_request(call, **more), metadata=self._metadata)
        try:
            async for message in stream:
                yield read(message)
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        finally:
            stream.cancel()

    def events(self, call: Call, cursor: str, after_step: int | None) -> AsyncIterator[Plain]:
        return self._stream(call, message_to_plain, **_start(cursor, after_step))

    def tokens(self, call: Call) -> AsyncIterator[Plain]:
        return self._stream(call, message_to_plain)

    def download(self, call: Call, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        return self._stream(call, _piece, offset=offset)

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        name, serializers = _route(call)
        kind, _ = _method_types(call.rpc)

        async def parts() -> AsyncIterator[Message]:
            yield plain_to_message(kind, {"header": call.message})
            chunks = chunks_of(path)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield kind(data=chunk)

        method = self._channel.stream_unary(name, **serializers)
        try:
            answer = await FirstStatus(method(parts(), metadata=self._metadata)).answer()
        except grpc.RpcError as error:
            raise to_error(error, self._address) from error
        return _answer(call, answer)

    async def close(self) -> None:
        if self._channel_in_use is not None:
            await self._channel_in_use.close()
