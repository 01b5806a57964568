"""Proxies between clients and servers on loopback that delay, hold or drop what passes.

`Proxy` passes bytes. `RedisProxy` also reads the commands, and calls back before or after one: so a
process can be killed at exactly one script call. All proxies of a process run on one thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from job_store.scripts import script

T = TypeVar("T")
_CHUNK = 1 << 16
_SERVER_RUNS_SECONDS = 0.05
"""In this time a server has run a script that was sent to it."""


Take = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class ProxyThread:
    """The event loop of all proxies, on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop to its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def ask(self, function: Callable[[], T]) -> T:
        """Call a function on the loop and return what it returns."""
        answer: Future[T] = Future()
        self._loop.call_soon_threadsafe(lambda: answer.set_result(function()))
        return answer.result(timeout=10)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop."""
        self._loop.call_soon_threadsafe(function)

    async def serve(self, take: Take, port: int) -> None:
        """Listen on a port until the thread ends."""
        self._servers.append(await asyncio.start_server(take, "127.0.0.1", port))

    def close(self) -> None:
        """End all connections and the thread."""
        for server in self._servers:
            self.call(server.close)
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Passes bytes from `port` to `target` and back.

    Attributes:
        delay_seconds: How long each piece of bytes is held back.
    """

    def __init__(self, thread: ProxyThread, port: int, target: Callable[[], int]) -> None:
        self.port = port
        self.target = target
        self.delay_seconds = 0.0
        self.flows: asyncio.Event
        self._thread = thread
        self._connections: set[asyncio.Task[None]] = set()
        thread.run(self._listen())

    async def _listen(self) -> None:
        self.flows = asyncio.Event()
        self.flows.set()
        await self._thread.serve(self._serve, self.port)

    def hold(self) -> None:
        """From now on nothing passes, and connections stay open: both sides are half-open."""
        self._thread.call(self.flows.clear)

    def release(self) -> None:
        """Let pass what was held, and all that follows."""
        self._thread.call(self.flows.set)

    def cut(self) -> None:
        """Drop all connections, with what is on its way."""
        self._thread.call(self._cut)

    def _cut(self) -> None:
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._connection(client, back).run())
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    def _connection(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> _Connection:
        return _Connection(self, client, back)


class _Connection:
    """One connection through a proxy; it ends on both sides when one side ends."""

    def __init__(
        self, proxy: Proxy, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._back = back

    async def run(self) -> None:
        writers = [self._back]
        try:
            server, forth = await asyncio.open_connection("127.0.0.1", self._proxy.target())
            writers.append(forth)
            await _first_of(self._up(forth), self._down(server))
        except (OSError, asyncio.CancelledError):
            pass  # the other side, or a fault, ended it
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _up(self, forth: asyncio.StreamWriter) -> None:
        async for data in self._pieces(self._client):
            forth.write(data)
            await forth.drain()

    async def _down(self, server: asyncio.StreamReader) -> None:
        async for data in self._pieces(server):
            self._back.write(data)
            await self._back.drain()

    async def _pieces(self, source: asyncio.StreamReader) -> AsyncIterator[bytes]:
        while data := await source.read(_CHUNK):
            await self._proxy.flows.wait()
            if self._proxy.delay_seconds:
                await asyncio.sleep(self._proxy.delay_seconds)
            yield data


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Return when the first one has ended; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Trap:
    """Waits for one call of a script, and acts once, before or after the server runs it.

    Args:
        name: Of the script, or of a command.
        after: Act when the server has run it, and its answer has not arrived; else instead of it.
        act: What happens then. The connection is dropped.
    """

    def __init__(self, name: str, after: bool, act: Callable[[], object]) -> None:
        self.name = name
        self.after = after
        self.act = act


class RedisProxy(Proxy):
    """A proxy before a Redis server, which springs traps at calls of scripts."""

    def __init__(self, thread: ProxyThread, port: int, target: Callable[[], int]) -> None:
        self._armed: list[Trap] = []
        super().__init__(thread, port, target)

    def arm(self, trap: Trap) -> None:
        """Wait for the call of a trap, beside those of others."""
        self._thread.ask(lambda: self._armed.append(trap))

    def disarm(self, trap: Trap) -> bool:
        """Take a trap away; returns False where its call has come."""
        return self._thread.ask(lambda: self._disarm(trap))

    def _disarm(self, trap: Trap) -> bool:
        waits = trap in self._armed
        if waits:
            self._armed.remove(trap)
        return waits

    def take_trap(self, call: str) -> Trap | None:
        """The trap that waits for this call, if any: it waits for no other from now on."""
        trap = next((trap for trap in self._armed if trap.name == call), None)
        if trap:
            self._disarm(trap)
        return trap

    def _connection(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> _RedisConnection:
        return _RedisConnection(self, client, back)


class _RedisConnection(_Connection):
    """Passes on whole commands, and springs the proxy's trap at the call that it waits for."""

    def __init__(
        self, proxy: RedisProxy, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        super().__init__(proxy, client, back)
        self._traps = proxy
        self._is_muted = False

    async def _up(self, forth: asyncio.StreamWriter) -> None:
        buffer = b""
        async for data in self._pieces(self._client):
            buffer, used = buffer + data, 0
            for words, end in commands(buffer):
                raw, used = buffer[used:end], end
                if trap := self._traps.take_trap(called(words)):
                    await self._spring(trap, raw, forth)
                    return
                forth.write(raw)
            buffer = buffer[used:]
            await forth.drain()

    async def _spring(self, trap: Trap, raw: bytes, forth: asyncio.StreamWriter) -> None:
        try:
            if trap.after:
                self._is_muted = True
                forth.write(raw)
                await forth.drain()
                await asyncio.sleep(_SERVER_RUNS_SECONDS)
        finally:  # also where the connection breaks meanwhile: somebody waits for it
            trap.act()

    async def _down(self, server: asyncio.StreamReader) -> None:
        async for data in self._pieces(server):
            if not self._is_muted:
                self._back.write(data)
                await self._back.drain()


def commands(buffer: bytes) -> Iterator[tuple[list[bytes], int]]:
    """The whole commands at the beginning of a buffer, each with the offset of its end."""
    at = 0
    while (read := _command(buffer, at)) is not None:
        yield read
        at = read[1]


def _command(buffer: bytes, at: int) -> tuple[list[bytes], int] | None:
    count, at = _number(buffer, at)
    words = []
    for _ in range(count or 0):
        size, at = _number(buffer, at)
        if size is None or len(buffer) < at + size + 2:
            return None
        words.append(buffer[at : at + size])
        at += size + 2
    return None if count is None else (words, at)


def _number(buffer: bytes, at: int) -> tuple[int | None, int]:
    """The number of a line such as `*3` or `$12`, and the offset behind the line."""
    end = buffer.find(b"\r\n", at)
    return (None, at) if end < 0 else (int(buffer[at + 1 : end]), end + 2)


def called(words: list[bytes]) -> str:
    """The name of the script that a command runs; else the command."""
    command = words[0].decode("latin1").upper()
    if command == "EVALSHA":
        return _names().get(words[1].decode("latin1"), command)
    if command == "EVAL":
        return _names().get(hashlib.sha1(words[1]).hexdigest(), command)
    return command


@cache
def _names() -> dict[str, str]:
    folder = resources.files("job_store") / "scripts"
    names = [path.name.removesuffix(".lua") for path in folder.iterdir()]
    return {script(name).sha: name for name in names if name.isidentifier()}
