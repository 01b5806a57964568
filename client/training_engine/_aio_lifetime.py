"""When an asyncio transport may be used: until it is closed, and in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from training_engine._aio_transport import AsyncTransport
from training_engine._lifetime import engine_closed
from training_engine.errors import TrainingEngineError


class AsyncLifetime:
    """Holds a transport to its end; it belongs to the event loop that first uses it."""

    def __init__(self, connect: Callable[[], AsyncTransport]) -> None:
        self._transport = connect()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = Event()

    @contextmanager
    def transport(self) -> Iterator[AsyncTransport]:
        """Lend the transport to one call; raise `engine_closed()` if `close` made the call fail."""
        if self._closed.is_set():
            raise engine_closed()
        self._check_loop()
        try:
            yield self._transport
        except asyncio.CancelledError as error:
            # gRPC cancels what waits for a channel that is closed. Unless the task
            # was cancelled too, its caller does not expect it to end like this.
            task = asyncio.current_task()
            if self._closed.is_set() and task is not None and not task.cancelling():
                raise engine_closed() from error
            raise
        except Exception as error:
            if self._closed.is_set():
                raise engine_closed() from error
            raise

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise TrainingEngineError(
                "this engine belongs to another event loop, the one that used it first; make one "
                "inside each asyncio.run()",
                code="wrong_event_loop",
            )

    async def close(self) -> None:
        """Let go of the connection."""
        self._closed.set()
        await self._transport.close()
