"""A server that is full, read-only, cut off, busy or forbids something: an outage with a remedy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from job_store_bench import Bench, new_job, points
from redis.exceptions import ResponseError
from redis_server import RedisServer, free_port
from redis_trouble import (
    Trouble,
    administrator,
    busy,
    cut_off,
    fail_over,
    forbidding,
    full,
    read_only,
    replicate,
    unblock_all,
    without_disk,
    without_replicas,
)

from job_store.connection import AsyncConnection, Connection
from job_store.errors import NotFoundError, StoreUnavailableError
from job_store.events import MetricsEvent
from job_store.generation import GenerationInbox
from job_store.records import JobStatus, WorkerRecord, WorkerState
from job_store.streams import JobFeeds
from job_store.workers import WorkerDirectory, WorkerRegistry

SECRET = "word-of-a-command"
TROUBLES: dict[str, tuple[Trouble, str]] = {
    "OOM": (full, r"its memory is full \(maxmemory\); raise it, or delete jobs"),
    "READONLY": (read_only, "it is a read-only replica; make it the primary again, or point"),
    "MASTERDOWN": (cut_off, "replica; make it the primary again, or point the Redis URL at the"),
    "NOREPLICAS": (without_replicas, "too few of its replicas are connected .* bring them back"),
    "MISCONF": (without_disk, "it cannot write to its disk; make room there, or repair it"),
    "NOPERM": (
        forbidding("-set", "-evalsha"),
        r"forbid what this process needs \(User default has no permissions to run the '\w+' "
        r"command\); allow its user that",
    ),
    "NOPERM in a script": (
        forbidding("-set", "-hset"),
        r"forbid what this process needs \(.*User default has no permissions to run the '\w+' ",
    ),
    "NOPERM for a key": (forbidding("resetkeys", "~other:*"), "forbid what this process needs"),
    "BUSY": (busy, "it is busy with a long script; wait, or end that by SCRIPT KILL"),
}


@pytest.fixture(scope="module")
def troubled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server of this module's own: its troubles are nobody else's."""
    server = RedisServer(tmp_path_factory.mktemp("troubled")).start()
    yield server
    server.stop()


@pytest.fixture
def worker_connection(troubled_server: RedisServer) -> Iterator[Connection]:
    connection = Connection.open(troubled_server.url(), retries=2)
    yield connection
    connection.close()


@pytest.fixture
async def bench(
    troubled_server: RedisServer, worker_connection: Connection
) -> AsyncIterator[Bench]:
    with administrator(troubled_server) as client:
        client.flushall()
    connection = AsyncConnection.open(troubled_server.url())
    yield Bench(connection, worker_connection)
    await connection.close()


@pytest.mark.parametrize("code", TROUBLES)
async def test_a_refusal_is_an_outage_that_names_its_remedy(
    bench: Bench, troubled_server: RedisServer, code: str
) -> None:
    trouble, remedy = TROUBLES[code]
    job, token = await bench.running()
    db, worker = bench.connection, bench.worker
    write = ("SET", "te:x", SECRET)
    calls = [
        lambda: worker.command(*write),
        lambda: worker.transaction(("GET", "te:y"), write),
        lambda: bench.attempts.publish_metrics(token, points(1, 3)),
    ]
    with trouble(troubled_server):
        for call in calls:
            with pytest.raises(StoreUnavailableError, match=remedy) as caught:
                call()
            assert SECRET not in str(caught.value)
        for awaitable in (
            db.command(*write),
            db.transaction(("GET", "te:y"), write),
            db.pipeline(write),
            bench.jobs.create(new_job()),
        ):
            with pytest.raises(StoreUnavailableError, match=remedy) as caught:
                await awaitable
            assert SECRET not in str(caught.value)
    assert bench.attempts.publish_metrics(token, points(1, 3)).delivered == 3
    assert (await bench.jobs.request_stop(job.job_id)).status is JobStatus.STOPPING


async def test_a_server_of_a_cluster_says_that_it_cannot_be_used(tmp_path: Path) -> None:
    # By default the bus of a cluster takes another port than was found free.
    extra = f"cluster-enabled yes\ncluster-port {free_port()}"
    server = RedisServer(tmp_path / "redis", extra=extra).start()
    connection = AsyncConnection.open(server.url())
    with pytest.raises(
        StoreUnavailableError, match="a Redis Cluster, which is not supported; use one"
    ):
        await connection.ping()  # CLUSTERDOWN: no server holds any slot
    await connection.close()
    server.stop()


async def test_a_server_that_wants_a_password_says_so(troubled_server: RedisServer) -> None:
    without = AsyncConnection.open(f"redis://127.0.0.1:{troubled_server.port}/0")
    with pytest.raises(
        StoreUnavailableError, match="it asks for a password; put the server's into"
    ):
        await without.ping()
    await without.close()


async def test_a_port_of_something_else_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = AsyncConnection.open(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(
        StoreUnavailableError, match="does not answer as a Redis server does; correct"
    ):
        await connection.ping()
    await connection.close()
    server.close()


async def test_an_error_that_waiting_does_not_cure_is_none_of_these(bench: Bench) -> None:
    await bench.connection.command("SET", "te:x", "NOREPLICAS BUSY OOM READONLY")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await bench.connection.pipeline(("LPUSH", "te:x", "UNBLOCKED", "READONLY OOM"))


async def test_a_job_can_be_deleted_from_a_full_server(
    bench: Bench, troubled_server: RedisServer
) -> None:
    stopped, _ = await bench.in_state(JobStatus.STOPPED, checkpoints=[5])
    with full(troubled_server):
        await bench.jobs.delete(stopped.job_id)
        with pytest.raises(NotFoundError):
            await bench.jobs.get(stopped.job_id)


async def test_workers_are_known_while_the_server_is_full(
    bench: Bench, troubled_server: RedisServer
) -> None:
    registry = WorkerRegistry(bench.worker, ttl_seconds=0.3)
    directory = WorkerDirectory(bench.connection)
    with full(troubled_server):
        for state in (WorkerState.IDLE, WorkerState.BUSY):
            registry.heartbeat(WorkerRecord("w", state, "cpu", "host", 1, 0, 0))
            assert [worker.state for worker in await directory.list()] == [state]


async def test_a_watch_goes_on_when_its_reads_are_broken_off(
    bench: Bench, troubled_server: RedisServer
) -> None:
    job, token = await bench.running()
    feeds = JobFeeds(bench.connection)
    seen: list[int] = []

    async def watch() -> None:
        async for item in feeds.watch(job.job_id):
            seen.extend([item.event.step] if isinstance(item.event, MetricsEvent) else [])

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    bench.attempts.publish_metrics(token, points(1, 3))
    await until(lambda: seen == [1, 2, 3])
    await until(lambda: unblock_all(troubled_server))
    bench.attempts.publish_metrics(token, points(4, 5))
    await until(lambda: seen == [1, 2, 3, 4, 5])
    with read_only(troubled_server):
        pass
    bench.attempts.publish_metrics(token, points(6, 6))
    await until(lambda: seen == [1, 2, 3, 4, 5, 6])
    assert not watching.done()
    await feeds.close()
    await asyncio.gather(watching, return_exceptions=True)


def test_a_wait_for_requests_that_is_broken_off_finds_none(
    troubled_server: RedisServer, worker_connection: Connection
) -> None:
    inbox = GenerationInbox(worker_connection)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(inbox.take(seconds=60)))
    waiting.start()
    while not unblock_all(troubled_server):
        assert waiting.is_alive()
    waiting.join(timeout=30)
    assert found == [None]


async def test_a_failover_there_and_back_loses_nothing(
    bench: Bench, troubled_server: RedisServer, tmp_path: Path
) -> None:
    other = RedisServer(tmp_path / "other").start()
    try:
        job, token = await bench.running()
        bench.attempts.publish_metrics(token, points(1, 3))
        replicate(other, troubled_server)
        fail_over(troubled_server, other)
        with pytest.raises(StoreUnavailableError, match="it is a read-only replica"):
            bench.attempts.publish_metrics(token, points(4, 5))
        with pytest.raises(StoreUnavailableError, match="it is a read-only replica"):
            await bench.connection.ping()
        fail_over(other, troubled_server)
        assert bench.attempts.publish_metrics(token, points(1, 5)).duplicates == 3
        assert [p.step for p in (await bench.history.page(job.job_id)).points] == [*range(1, 6)]
    finally:
        other.stop()
