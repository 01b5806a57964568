"""Stores on an empty database, and the shortest way to a job in any state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from job_store_bench import Bench

from job_store.connection import AsyncConnection, Connection


@pytest.fixture
def worker_connection(redis_url: str) -> Iterator[Connection]:
    """The synchronous connection of a worker."""
    connection = Connection.open(redis_url, retries=2)
    yield connection
    connection.close()


@pytest.fixture
async def bench(redis_url: str, worker_connection: Connection) -> AsyncIterator[Bench]:
    """All stores, on the same database."""
    connection = AsyncConnection.open(redis_url)
    yield Bench(connection, worker_connection)
    await connection.close()
