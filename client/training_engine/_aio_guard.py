"""`_guard` for asyncio: closed, or in another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar, cast

from training_engine._calls import Call
from training_engine._guard import engine_closed
from training_engine._transport import AsyncTransport
from training_engine.errors import TrainingEngineError
from training_engine.records import Plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

T = TypeVar("T")


def aclosed_behind(items: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """Close a stream with its reader, not whenever the collector comes by."""
    return aclosing(cast("AsyncGenerator[T, None]", items))


class AsyncGuardedTransport:
    """A transport whose failures say so where it was closed; it belongs to one event loop."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = Event()

    @contextmanager
    def _open(self) -> Iterator[AsyncTransport]:
        if self._closed.is_set():
            raise engine_closed()
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise TrainingEngineError(
                "this engine belongs to another event loop, the one that used it first; make one "
                "inside each asyncio.run()",
                code="wrong_event_loop",
            )
        try:
            yield self._transport
        except asyncio.CancelledError as error:
            # gRPC cancels what waits for a channel that is closed. Unless somebody cancelled the
            # task too, nobody expects it to end like this.
            task = asyncio.current_task()
            if self._closed.is_set() and task is not None and not task.cancelling():
                raise engine_closed() from error
            raise
        except Exception as error:
            if self._closed.is_set():
                raise engine_closed() from error
            raise

    async def _stream(
        self, begin: Callable[[AsyncTransport], AsyncIterator[T]]
    ) -> AsyncIterator[T]:
        with self._open() as transport:
            async with aclosed_behind(begin(transport)) as items:
                async for item in items:
                    yield item

    async def unary(self, call: Call) -> Plain:
        with self._open() as transport:
            return await transport.unary(call)

    def events(self, call: Call, cursor: str, after_step: int | None) -> AsyncIterator[Plain]:
        return self._stream(lambda transport: transport.events(call, cursor, after_step))

    def tokens(self, call: Call) -> AsyncIterator[Plain]:
        return self._stream(lambda transport: transport.tokens(call))

    def download(self, call: Call, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        return self._stream(lambda transport: transport.download(call, offset))

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        with self._open() as transport:
            return await transport.upload(call, path, size_bytes)

    async def close(self) -> None:
        self._closed.set()
        await self._transport.close()
