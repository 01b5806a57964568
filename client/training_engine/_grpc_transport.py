# Generated from _aio_grpc_transport.py by client/generate_sync.py; run: make sync
"""The blocking transport over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from training_engine import _grpc
from training_engine._call import Call
from training_engine._files import chunks_of
from training_engine._guard import closed_behind
from training_engine._options import Options, checked_address
from training_engine.messages import message_to_plain
from training_engine.records import Plain

T = TypeVar("T")


class GrpcTransport:
    """Talks to the control plane."""

    def __init__(self, address: str, options: Options) -> None:
        address = checked_address(address)
        self._address = address
        self._options = options
        self._metadata = _grpc.metadata(options)
        self._settings = _grpc.channel_options(address)
        self._made: grpc.Channel | None = None
        self._making = Lock()

    @property
    def _channel(self) -> grpc.Channel:
        # On first use, for a channel may belong to the event loop that it is made in; under a
        # lock, for threads may share it.
        with self._making:
            self._made = self._made or self._make_channel()
        return self._made

    def _make_channel(self) -> grpc.Channel:
        if self._options.tls:
            credentials = grpc.ssl_channel_credentials()
            return grpc.secure_channel(self._address, credentials, self._settings)
        return grpc.insecure_channel(self._address, self._settings)

    def unary(self, call: Call) -> Plain:
        name, serializers = _grpc.route(call)
        method = self._channel.unary_unary(name, **serializers)
        try:
            answer = method(
                _grpc.request(call), timeout=self._options.timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise _grpc.to_error(error, self._address) from error
        return _grpc.answer(call, answer)

    def _stream(self, call: Call, read: Callable[[Message], T], **more: Any) -> Iterator[T]:
        name, serializers = _grpc.route(call)
        method = self._channel.unary_stream(name, **serializers)
        stream = method(_grpc.request(call, **more), metadata=self._metadata)
        try:
            for message in stream:
                yield read(message)
        except grpc.RpcError as error:
            raise _grpc.to_error(error, self._address) from error
        finally:
            stream.cancel()

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        return self._stream(call, message_to_plain, **_grpc.start(cursor, after_step))

    def answers(self, call: Call) -> Iterator[Plain]:
        return self._stream(call, message_to_plain)

    def download(self, call: Call, offset: int, by_url: bool) -> Iterator[tuple[int, bytes]]:
        from training_engine._presigned import fetch  # httpx takes a while to import

        answers = self._stream(call, _grpc.piece_or_url, offset=offset, accepts_url=by_url)
        with closed_behind(answers):
            for position, data, url in answers:
                if not url:
                    yield position, data
                    continue
                pieces = fetch(url, offset)
                with closed_behind(pieces):
                    yield from pieces

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        name, serializers = _grpc.route(call)
        kind, _ = _grpc.method_types(call.rpc)

        def parts() -> Iterator[Message]:
            yield _grpc.message_of(kind, {"header": call.message})
            chunks = chunks_of(path)
            while (chunk := next(chunks, None)) is not None:
                yield kind(data=chunk)

        method = self._channel.stream_unary(name, **serializers)
        try:
            answer = method(parts(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise _grpc.to_error(error, self._address) from error
        return _grpc.answer(call, answer)

    def close(self) -> None:
        # Also a channel that was never used: a call that is just beginning must find it closed.
        self._channel.close()
