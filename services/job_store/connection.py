"""Connections to the Redis server: deadlines, retries, scripts and errors in one place."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from job_store.batches import Batches
from job_store.clients import (
    UnsafeFailoverError,
    has_sentinels,
    open_client,
    open_pool,
    replicas_of,
    require_safe_failover,
)
from job_store.durability import DiskBarrier
from job_store.errors import StoreUnavailableError
from job_store.outages import breaks_off, changes_role, unavailable
from job_store.records import Request
from job_store.scripts import read_reply, script

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_PREFIX = "te:"
"""Every key of the job store begins with this; the queue's keys on the same server do not."""

REQUEST_MEMORY_MS = 24 * 3600 * 1000
"""How long a request_id keeps its first answer."""

_RETRY_MEMORY_MS = 10 * 60 * 1000
# A mutation without a request_id gets a private one, so that a repetition by the connection
# after a broken reply returns the first answer instead of acting twice.

_MOST_COMMANDS = 256
"""Commands that go together in one trip."""

_COMMAND_SECONDS = 3.0
"""Deadline of one call, its retries included."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        if (away := unavailable(error)) is None:
            raise
        raise away from error


def memo_arguments(prefix: str, request: Request | None) -> tuple[str, str, int]:
    """Return key, body digest and lifetime (ms) of a request's memo, as script arguments."""
    if request is None:
        return f"{prefix}request:~{secrets.token_hex(12)}", "-", _RETRY_MEMORY_MS
    # Hashed: a request_id is the client's text, of any length and with any characters.
    digest = hashlib.sha256(request.request_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{prefix}request:{digest}", request.body_hash, REQUEST_MEMORY_MS


async def recall(connection: AsyncConnection, request: Request | None) -> Any:
    """Return the first answer to this request, as JSON text; None for a new one.

    RequestIdReusedError, and what `AsyncConnection.acknowledge` raises.

    Asked before anything else is looked at: what the request named may be gone since.
    """
    if request is None:
        return None
    key, body_hash, _ = memo_arguments(connection.prefix, request)
    reply = await connection.run("recall", key, body_hash, request=request)
    if reply is None:
        return None
    await connection.acknowledge(key)
    return reply[0]


class _AnnouncedRenewal:
    """Refuses each new connection once, but for the first.

    A client reconnects in silence where it finds its connection closed. A server that is started
    again, or a replica that has taken over, may have forgotten the last second of what was
    answered before; so code whose writes depend on their order must know of it.
    """

    def __init__(self) -> None:
        self._expected = True

    def __call__(self, connection: Any) -> None:
        connection.on_connect()
        if not self._expected:
            self._expected = True
            raise RedisConnectionError("the connection was renewed")
        self._expected = False


class Connection:
    """Synchronous connection, for workers: it retries through outages of minutes."""

    def __init__(
        self, client: redis.Redis, prefix: str = DEFAULT_PREFIX, replicas: int = 0
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.replicas = replicas
        # redis-py leaves this method untyped.
        self._execute: Callable[..., Any] = client.execute_command

    @staticmethod
    def open(
        url: str,
        prefix: str = DEFAULT_PREFIX,
        *,
        retries: int = 300,
        announce_renewal: bool = False,
    ) -> Connection:
        """Connect lazily to the server of a URL (see `clients`); `retries` at most 2 s apart.

        `announce_renewal`, for one thread and `retries=0`: StoreUnavailableError is raised before
        any connection but the first is used: what was answered before it may be lost.
        """
        server = open_client(
            url,
            # A frozen server or a silent network must end in a retry, not in a hang.
            socket_timeout=15,
            socket_connect_timeout=3,
            retry=Retry(ExponentialBackoff(cap=2, base=0.1), retries),
            redis_connect_func=_AnnouncedRenewal() if announce_renewal else None,
        )
        return Connection(server, prefix, replicas_of(url))

    def command(self, *words: Any) -> Any:
        """Run one Redis command.

        Raises:
            StoreUnavailableError: Once the retries are spent.
        """
        with self._served():
            return self._execute(*words)

    def blocking_command(self, *words: Any) -> Any:
        """Return a command that waits for data; None also where the server breaks off the wait."""
        with self._served():
            try:
                return self._execute(*words)
            except RedisError as error:
                if not breaks_off(error):
                    raise
        self._reconnect()
        return None

    @contextmanager
    def _served(self) -> Iterator[None]:
        with _translated():
            try:
                yield
            except RedisError as error:
                if changes_role(error):
                    self._reconnect()
                raise

    def _reconnect(self) -> None:
        """Disconnect, so that the address is looked up again: the primary may have changed."""
        self.client.connection_pool.disconnect(inuse_connections=False)

    def transaction(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run several commands as one atomic MULTI/EXEC, in one round trip."""
        return self._pipelined(commands, atomic=True)

    def run(self, name: str, *arguments: Any, request: Request | None = None) -> list[Any] | None:
        """Run a script (see `scripts.read_reply`)."""
        text = script(name)
        with self._served():
            try:
                reply = self._execute("EVALSHA", text.sha, 0, self.prefix, *arguments)
            except NoScriptError:
                reply = self._execute("EVAL", text.text, 0, self.prefix, *arguments)
        return read_reply(reply, request.request_id if request else "")

    def replies(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run independent commands on one connection; the replies include the server's errors."""
        return self._pipelined(commands, atomic=False)

    def _pipelined(self, commands: Sequence[tuple[Any, ...]], *, atomic: bool) -> list[Any]:
        with self._served():
            pipeline = self.client.pipeline(transaction=atomic)
            for words in commands:
                pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
            return list(pipeline.execute(raise_on_error=atomic))

    def check(self, reply: Any) -> Any:
        """Return one of `replies`.

        Raises:
            StoreUnavailableError: The reply is an error which means that Redis cannot be used now.
            redis.RedisError: The reply is another error.
        """
        with _translated():
            if isinstance(reply, RedisError):
                raise reply
        return reply

    def close(self) -> None:
        """Close the sockets."""
        self.client.close()


class AsyncConnection:
    """Asynchronous connection, for the control plane: gives up within seconds (503)."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str = DEFAULT_PREFIX,
        blocking: redis.asyncio.Redis | None = None,
        failover_url: str = "",
    ) -> None:
        self.client = client
        self.prefix = prefix
        self._failover_url = failover_url
        self._blocking = blocking or client
        self._execute_alone: Callable[..., Awaitable[Any]] = client.execute_command
        self._batches: list[Batches[Any, Any]] = []
        self._commands = self.batches(self._send, _MOST_COMMANDS)
        self._execute_blocking: Callable[..., Awaitable[Any]] = self._blocking.execute_command
        self.disk = DiskBarrier(self._replies, prefix, replicas_of(failover_url))
        self._looked = False

    @staticmethod
    def open(
        url: str, prefix: str = DEFAULT_PREFIX, *, max_connections: int = 64
    ) -> AsyncConnection:
        """Connect lazily to the server of a URL (see `clients`)."""
        retry = redis.asyncio.retry.Retry(ExponentialBackoff(cap=0.2, base=0.05), 2)
        short = open_pool(
            url,
            max_connections=max_connections,
            wait_seconds=3,
            # No deadline of the socket's own: redis-py sets it by `asyncio.wait_for`, which on
            # Python 3.11 swallows about every second cancellation. See `_serve`.
            socket_timeout=None,
            socket_connect_timeout=1,
            retry=retry,
        )
        # Blocking reads hold a connection each; they must not starve the short commands.
        blocking = open_pool(url, socket_timeout=None, socket_connect_timeout=1, retry=retry)
        return AsyncConnection(
            redis.asyncio.Redis.from_pool(short),
            prefix,
            redis.asyncio.Redis.from_pool(blocking),
            url if has_sentinels(url) else "",
        )

    def batches(
        self, action: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], most: int
    ) -> Batches[T, R]:
        """Return batches of an action that uses this connection, and ends with it."""
        made = Batches(action, most)
        self._batches.append(made)
        return made

    async def command(self, *words: Any) -> Any:
        """Run one Redis command.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        return await self._serve(self._commands.add(words))

    async def blocking_command(self, *words: Any) -> Any:
        """Run a command that may block for up to 3 s, on a connection of its own.

        None also where the server breaks off the wait.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        return await self._serve(self._wait_for(words))

    async def _wait_for(self, words: tuple[Any, ...]) -> Any:
        try:
            return await self._execute_blocking(*words)
        except RedisError as error:
            if not breaks_off(error):
                raise
            await self._reconnect()
        return None

    async def transaction(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run several commands as one atomic MULTI/EXEC, in one round trip."""
        return await self._serve(self._pipelined(self.client, commands, atomic=True))

    async def pipeline(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run several independent commands in one round trip."""
        return await self._serve(self._pipelined(self.client, commands))

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the commands of several calls; an error is among the replies."""
        async with asyncio.timeout(_COMMAND_SECONDS):
            if len(commands) == 1:
                return [await self._execute_alone(*commands[0])]
            return await self._pipelined(self.client, commands, raise_on_error=False)

    @staticmethod
    async def _pipelined(
        client: redis.asyncio.Redis,
        commands: Sequence[tuple[Any, ...]],
        *,
        atomic: bool = False,
        raise_on_error: bool = True,
    ) -> list[Any]:
        pipeline = client.pipeline(transaction=atomic)
        for words in commands:
            pipeline.execute_command(*words)
        return list(await pipeline.execute(raise_on_error=raise_on_error))

    async def run(
        self, name: str, *arguments: Any, request: Request | None = None
    ) -> list[Any] | None:
        """Run a script (see `scripts.read_reply`)."""
        text = script(name)
        try:
            reply = await self.command("EVALSHA", text.sha, 0, self.prefix, *arguments)
        except NoScriptError:
            reply = await self.command("EVAL", text.text, 0, self.prefix, *arguments)
        return read_reply(reply, request.request_id if request else "")

    async def run_each(self, name: str, calls: Sequence[tuple[Any, ...]]) -> list[list[Any] | None]:
        """Run a script once for each of these arguments, in one round trip."""
        if not calls:
            return []
        text = script(name)
        commands = [("EVALSHA", text.sha, 0, self.prefix, *arguments) for arguments in calls]
        try:
            replies = await self.pipeline(*commands)
        except NoScriptError:
            await self.command("SCRIPT", "LOAD", text.text)
            replies = await self.pipeline(*commands)
        return [read_reply(reply) for reply in replies]

    async def _replies(self, *commands: tuple[Any, ...], seconds: float) -> list[Any]:
        """Run independent commands that may wait, on one connection; replies include errors."""
        asked = self._pipelined(self._blocking, commands, raise_on_error=False)
        return await self._serve(asked, seconds)

    async def facts(self, *reads: tuple[Any, ...]) -> list[Any]:
        """Return replies that stay true even if the server dies now.

        Raises:
            NotOnDiskError: The server has not confirmed the write in time.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        with _translated():
            return await self.disk.facts(*reads)

    async def stays_gone(self, key: str) -> bool:
        """Whether there is no such key, and no restart of the server could bring it back.

        Raises what `facts` raises.
        """
        (held,) = await self.facts(("EXISTS", key))
        return not held

    async def acknowledge(self, memo_key: str) -> None:
        """Return once the server's disk has the mutation of this memo, so that it may be answered.

        Raises:
            NotOnDiskError: The server has not confirmed the write in time.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        if await self.stays_gone(memo_key):
            raise StoreUnavailableError(
                "it was started again, or replaced, and has forgotten the change that it had "
                "just made"
            )

    async def ping(self) -> None:
        """Check that the server answers and takes writes.

        The first time the log says what this server does not promise.
        """
        await self.command("SET", f"{self.prefix}ping", "1", "PX", 10_000)
        if not self._looked:
            with _translated():
                await self._look()
            self._looked = True

    async def _look(self) -> None:
        if self._failover_url:
            try:
                await asyncio.to_thread(require_safe_failover, self._failover_url)
            except UnsafeFailoverError as error:
                raise StoreUnavailableError(str(error)) from None
        await self.disk.look()

    async def _serve(self, action: Awaitable[T], seconds: float = _COMMAND_SECONDS) -> T:
        """Return what the action gets of Redis.

        Raises:
            StoreUnavailableError: Redis does not answer within these seconds, or refuses.
        """
        with _translated():
            try:
                async with asyncio.timeout(seconds):
                    return await action
            except TimeoutError:
                if self._failover_url:  # it may be frozen, and another one the primary by now
                    await self._reconnect()
                raise StoreUnavailableError(f"it did not answer within {seconds:g} s") from None
            except RedisError as error:
                if changes_role(error):
                    await self._reconnect()
                raise

    async def _reconnect(self) -> None:
        """Disconnect, so that the address is looked up again: the primary may have changed."""
        for client in {self.client, self._blocking}:
            await client.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close the sockets."""
        for batches in self._batches:
            await batches.close()
        await self.client.aclose()
        await self.client.connection_pool.disconnect()
        if self._blocking is not self.client:
            await self._blocking.aclose()
            await self._blocking.connection_pool.disconnect()
