"""What is acknowledged is in the server's append-only file; what cannot be confirmed is not.

`appendfsync no` is a real server that never says that its file is on disk, as one with a slow disk
does for a while; the store's user may not read that setting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from job_store_bench import new_job
from redis_server import RedisServer

from job_store.attempts import AttemptStore
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection, Connection
from job_store.durability import DiskWatch
from job_store.errors import NotOnDiskError, StoreUnavailableError
from job_store.jobs import JobStore
from job_store.records import Outcome, OutcomeKind, Request

REQUEST = Request("r1", "body")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "server").start()
    yield made
    made.stop()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url()) as client:
        client.acl_setuser(
            "store", enabled=True, passwords=["+secret"], keys="*", commands=["+@all", "-config"]
        )
        yield client


def store_url(server: RedisServer) -> str:
    return f"redis://store:secret@127.0.0.1:{server.port}/0"


@pytest.fixture
async def connection(server: RedisServer, admin: redis.Redis) -> AsyncIterator[AsyncConnection]:
    made = AsyncConnection.open(store_url(server))
    made.disk.seconds = 0.2
    yield made
    await made.close()


async def test_an_unconfirmed_start_is_not_acknowledged_and_its_repetition_is(
    connection: AsyncConnection, admin: redis.Redis
) -> None:
    jobs = JobStore(connection)
    admin.config_set("appendfsync", "no")
    with pytest.raises(NotOnDiskError, match=r"not confirmed within 0.2 s .* repeat the call with"):
        await jobs.create(new_job(), REQUEST)
    with pytest.raises(NotOnDiskError):
        await jobs.answered(REQUEST)
    admin.config_set("appendfsync", "always")
    first = await jobs.create(new_job(), REQUEST)
    assert await jobs.answered(REQUEST) == first
    assert [job.job_id for job in (await jobs.list()).items] == [first.job_id]


async def test_a_server_whose_clock_is_set_forward_is_asked_again(
    connection: AsyncConnection, admin: redis.Redis
) -> None:
    """Its wait is over at once then, by its own clock: that says nothing about its disk."""
    jobs = JobStore(connection)
    send, asked = connection.disk._pipeline, 0

    async def with_a_step(*commands: Any, seconds: float) -> list[Any]:
        nonlocal asked
        replies = await send(*commands, seconds=seconds)
        if commands[-1][0] == "WAITAOF":
            asked += 1
            if asked == 1:
                replies[-1] = [0, 0]
        return replies

    connection.disk._pipeline = with_a_step
    connection.disk.seconds = 5.0
    admin.config_set("appendfsync", "always")
    record = await jobs.create(new_job(), REQUEST)
    assert (asked, (await jobs.get(record.job_id)).job_id) == (2, record.job_id)


async def test_every_mutation_of_a_client_is_confirmed(
    connection: AsyncConnection, admin: redis.Redis
) -> None:
    jobs, configs, datasets = (
        JobStore(connection),
        ConfigStore(connection),
        DatasetStore(connection),
    )
    job, other = await jobs.create(new_job()), await jobs.create(new_job())
    config = await configs.create("c", "{}")
    data = await datasets.create("d", 1, "ab", "key")
    await jobs.request_stop(other.job_id)
    admin.config_set("appendfsync", "no")
    for change in (
        jobs.request_stop(job.job_id),
        jobs.resume(other.job_id),
        jobs.delete(job.job_id),
        configs.create("c", "{}"),
        configs.delete(config.config_id),
        datasets.create("d", 1, "ab", "key"),
        datasets.delete(data.dataset_id),
        jobs.stays_deleted(job.job_id),
        datasets.stays_deleted(data.dataset_id),
    ):
        with pytest.raises(NotOnDiskError):
            await change
    admin.config_set("appendfsync", "always")
    assert await jobs.stays_deleted(job.job_id)
    assert not await jobs.stays_deleted(other.job_id)
    assert await datasets.stays_deleted(data.dataset_id)


async def test_a_change_that_a_new_server_has_forgotten_is_not_acknowledged(
    connection: AsyncConnection,
) -> None:
    with pytest.raises(StoreUnavailableError, match="has forgotten the change"):
        await connection.acknowledge("te:request:of-a-server-that-died")


async def test_those_who_wait_at_once_share_few_questions(
    connection: AsyncConnection, admin: redis.Redis
) -> None:
    await asyncio.gather(*(connection.facts(("PING",)) for _ in range(200)))
    assert admin.info("commandstats")["cmdstat_waitaof"]["calls"] <= 8


async def test_who_comes_while_the_disk_is_slow_asks_beside_those_who_wait(
    connection: AsyncConnection, admin: redis.Redis
) -> None:
    connection.disk.seconds = 1.0
    admin.config_set("appendfsync", "no")
    ended = []
    first = asyncio.create_task(connection.facts(("PING",)))
    await asyncio.sleep(0)
    second = asyncio.create_task(connection.facts(("PING",)))
    for task in (first, second):
        with pytest.raises(NotOnDiskError):
            await task
        ended.append(time.monotonic())
    assert ended[1] - ended[0] < 0.8  # one after the other it would take a second


async def test_an_idle_server_confirms_at_once(connection: AsyncConnection) -> None:
    """Left alone, it would notice a tenth of a second later what its file holds."""
    seconds = []
    for _ in range(20):
        began = time.monotonic()
        await connection.facts(("PING",))
        seconds.append(time.monotonic() - began)
    assert sorted(seconds)[2] < 0.05  # also where others keep the cores busy


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (("CONFIG", "SET", "appendonly", "no"), "no append-only file; set `appendonly yes`"),
        (("ACL", "SETUSER", "store", "-waitaof"), "it forbids WAITAOF"),
    ],
)
async def test_a_server_that_cannot_confirm_is_named_once_and_used(
    server: RedisServer,
    connection: AsyncConnection,
    admin: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    break_it: tuple[str, ...],
    why: str,
) -> None:
    admin.execute_command(*break_it)
    with caplog.at_level(logging.WARNING):
        await connection.ping()
        await JobStore(connection).create(new_job())
        await JobStore(connection).create(new_job())
    (line,) = (record.getMessage() for record in caplog.records)
    assert why in line
    assert "may forget what it has just confirmed" in line


async def test_a_server_that_never_syncs_is_named_once_and_used(
    server: RedisServer, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    admin.config_set("appendfsync", "no")
    connection = AsyncConnection.open(server.url())
    with caplog.at_level(logging.WARNING):
        await connection.ping()
        await JobStore(connection).create(new_job())
    (line,) = (record.getMessage() for record in caplog.records)
    assert "`appendfsync no`; set everysec or always" in line
    await connection.close()


def test_a_watch_tells_when_its_moment_is_on_disk(server: RedisServer, admin: redis.Redis) -> None:
    connection = Connection.open(store_url(server), retries=0, announce_renewal=True)
    watch = DiskWatch(connection)
    watch.begin()
    assert not watch.is_settled(0.3)  # written, but the sync after it may not have ended
    began = time.monotonic()
    while not watch.is_settled(0.3):
        assert time.monotonic() < began + 20
    assert time.monotonic() >= began + 0.3
    admin.config_set("appendfsync", "no")
    watch.begin()
    assert not watch.is_written()
    assert not watch.is_settled(0.0)
    admin.config_set("appendfsync", "always")
    connection.command("SET", "another", "write")
    assert watch.is_written(5.0)
    connection.close()


def test_a_watch_does_not_outlive_its_server(server: RedisServer) -> None:
    """The server that comes back would confirm what it does not know."""
    connection = Connection.open(server.url(), retries=0, announce_renewal=True)
    watch = DiskWatch(connection)
    watch.begin()
    server.kill()
    server.start()
    with pytest.raises(StoreUnavailableError):
        watch.is_written()
    connection.close()


async def test_an_end_waits_for_the_disk(
    server: RedisServer, connection: AsyncConnection, admin: redis.Redis
) -> None:
    worker = Connection.open(store_url(server), retries=0, announce_renewal=True)
    attempts, job = AttemptStore(worker), await JobStore(connection).create(new_job())
    claimed = attempts.claim(job.job_id, 1, "worker-1")
    assert claimed is not None
    admin.config_set("appendfsync", "no")
    attempts.finish(claimed.token, Outcome(OutcomeKind.SUCCEEDED))
    assert not attempts.wait_for_disk(0.05)
    admin.config_set("appendfsync", "always")
    assert attempts.wait_for_disk()
    worker.close()
