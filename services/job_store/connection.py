"""Connections to the Redis server: deadlines, retries, scripts and errors in one place."""

from __future__ import annotations

import redis
import redis.asyncio

DEFAULT_PREFIX = "te:"
"""All keys begin with it, so that the server can be shared with the queue."""


class Connection:
    """Synchronous connection, for workers: patient, survives outages of minutes."""

    def __init__(self, client: redis.Redis, prefix: str = DEFAULT_PREFIX) -> None:
        self.client = client
        self.prefix = prefix

    @staticmethod
    def open(url: str, prefix: str = DEFAULT_PREFIX, *, retries: int = 300) -> Connection:
        """Connect lazily to `redis://[:password@]host:port/db`; `retries` at most 2 s apart."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the sockets back."""
        self.client.close()


class AsyncConnection:
    """Asynchronous connection, for the control plane: gives up within seconds (503)."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str = DEFAULT_PREFIX) -> None:
        self.client = client
        self.prefix = prefix

    @staticmethod
    def open(url: str, prefix: str = DEFAULT_PREFIX) -> AsyncConnection:
        """Connect lazily to `redis://[:password@]host:port/db`."""
        raise NotImplementedError

    async def ping(self) -> None:
        """StoreUnavailable unless the server answers and takes writes."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give the sockets back."""
        await self.client.aclose()
