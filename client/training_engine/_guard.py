# Generated from _aio_guard.py by client/generate_sync.py; run: make sync
"""A transport whose failures say so where the engine was closed, whatever broke by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from training_engine._call import Call
from training_engine._lifetime import Lifetime
from training_engine._transport import Transport
from training_engine.records import Plain

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")


def closed_behind(items: Iterator[T]) -> closing[Generator[T]]:
    """Close a stream with its reader, not whenever the collector comes by."""
    return closing(cast("Generator[T]", items))


class GuardedTransport:
    """Makes each call of a transport within the transport's lifetime."""

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._lifetime = Lifetime(connect)

    def _stream(self, begin: Callable[[Transport], Iterator[T]]) -> Iterator[T]:
        with self._lifetime.transport() as transport:
            items = begin(transport)
            with closed_behind(items):
                yield from items

    def unary(self, call: Call) -> Plain:
        with self._lifetime.transport() as transport:
            return transport.unary(call)

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        return self._stream(lambda transport: transport.events(call, cursor, after_step))

    def answers(self, call: Call) -> Iterator[Plain]:
        return self._stream(lambda transport: transport.answers(call))

    def download(self, call: Call, offset: int, by_url: bool) -> Iterator[tuple[int, bytes]]:
        return self._stream(lambda transport: transport.download(call, offset, by_url))

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        with self._lifetime.transport() as transport:
            return transport.upload(call, path, size_bytes)

    def close(self) -> None:
        self._lifetime.close()
