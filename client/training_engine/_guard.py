"""A transport that knows when it may no longer be used: closed, or in a forked process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING, TypeVar, cast

from training_engine._calls import Call
from training_engine._transport import Transport
from training_engine.errors import TrainingEngineError
from training_engine.records import Plain

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")


def engine_closed() -> TrainingEngineError:
    """Return the error for whatever was asked of an engine after its end."""
    return TrainingEngineError("this engine was closed; make a new one", code="engine_closed")


def closed_behind(items: Iterator[T]) -> closing[Generator[T, None, None]]:
    """Close a stream with its reader, not whenever the collector comes by."""
    return closing(cast("Generator[T, None, None]", items))


class GuardedTransport:
    """A transport whose failures say so where it was closed, whatever broke by that.

    A forked process gets a connection of its own: two that speak over one would garble both.
    """

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._connect = connect
        self._transport = connect()
        self._process = os.getpid()
        self._closed = Event()

    @contextmanager
    def _open(self) -> Iterator[Transport]:
        if self._closed.is_set():
            raise engine_closed()
        if self._process != os.getpid():
            self._parents = self._transport  # kept: letting go of it would end it for the parent
            self._transport, self._process = self._connect(), os.getpid()
        try:
            yield self._transport
        except Exception as error:
            if self._closed.is_set():
                raise engine_closed() from error
            raise

    def _stream(self, begin: Callable[[Transport], Iterator[T]]) -> Iterator[T]:
        with self._open() as transport, closed_behind(begin(transport)) as items:
            yield from items

    def unary(self, call: Call) -> Plain:
        with self._open() as transport:
            return transport.unary(call)

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        return self._stream(lambda transport: transport.events(call, cursor, after_step))

    def tokens(self, call: Call) -> Iterator[Plain]:
        return self._stream(lambda transport: transport.tokens(call))

    def download(self, call: Call, offset: int) -> Iterator[tuple[int, bytes]]:
        return self._stream(lambda transport: transport.download(call, offset))

    def upload(self, call: Call, chunks: Iterable[bytes], size_bytes: int) -> Plain:
        with self._open() as transport:
            return transport.upload(call, chunks, size_bytes)

    def close(self) -> None:
        self._closed.set()
        if self._process == os.getpid():
            self._transport.close()
