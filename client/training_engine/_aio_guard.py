"""A transport whose failures say so where the engine was closed, whatever broke by that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from training_engine._aio_lifetime import AsyncLifetime
from training_engine._aio_transport import AsyncTransport
from training_engine._call import Call
from training_engine.records import Plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

T = TypeVar("T")


def closed_behind(items: AsyncIterator[T]) -> aclosing[AsyncGenerator[T]]:
    """Close a stream with its reader, not whenever the collector comes by."""
    return aclosing(cast("AsyncGenerator[T]", items))


class AsyncGuardedTransport:
    """Makes each call of a transport within the transport's lifetime."""

    def __init__(self, connect: Callable[[], AsyncTransport]) -> None:
        self._lifetime = AsyncLifetime(connect)

    async def _stream(
        self, begin: Callable[[AsyncTransport], AsyncIterator[T]]
    ) -> AsyncIterator[T]:
        with self._lifetime.transport() as transport:
            items = begin(transport)
            async with closed_behind(items):
                async for item in items:
                    yield item

    async def unary(self, call: Call) -> Plain:
        with self._lifetime.transport() as transport:
            return await transport.unary(call)

    def events(self, call: Call, cursor: str, after_step: int | None) -> AsyncIterator[Plain]:
        return self._stream(lambda transport: transport.events(call, cursor, after_step))

    def answers(self, call: Call) -> AsyncIterator[Plain]:
        return self._stream(lambda transport: transport.answers(call))

    def download(self, call: Call, offset: int, by_url: bool) -> AsyncIterator[tuple[int, bytes]]:
        return self._stream(lambda transport: transport.download(call, offset, by_url))

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        with self._lifetime.transport() as transport:
            return await transport.upload(call, path, size_bytes)

    async def close(self) -> None:
        await self._lifetime.close()
