"""Redis URLs: those of one server and those of sentinels, and a failover that would lose writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from running_stack import clean_environment
from sentinels import Sentinels

from job_store.clients import (
    UnsafeFailoverError,
    check_url,
    open_client,
    open_pool,
    require_safe_failover,
)
from job_store.connection import AsyncConnection, Connection
from job_store.errors import NotOnDiskError, StoreUnavailableError


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    running = Sentinels(tmp_path_factory.mktemp("sentinels"))
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:6379", "begins with 'http'; it must be redis://, rediss://, unix:// or"),
        ("redis+sentinel://127.0.0.1:26379", "must name the sentinels, the primary and"),
        ("redis+sentinel:///jobs", "must name the sentinels, the primary and"),
        ("redis+sentinel://127.0.0.1:26379/jobs/first", "the number of the database, as in"),
    ],
)
def test_a_wrong_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_url(url)


def test_everything_that_a_sentinel_url_says_is_used() -> None:
    url = (
        "rediss+sentinel://user:p%40ss@one:1,two,[::1]:3/jo%62s/2"
        "?sentinel_password=s%26cret&ssl_cert_reqs=none&health_check_interval=30"
    )
    pool = open_client(url, socket_timeout=7).connection_pool
    assert pool.service_name == "jobs"
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("user", "p@ss", 2)
    assert (options["socket_timeout"], options["health_check_interval"]) == (7, 30)
    assert issubclass(pool.connection_class, redis.SSLConnection)
    own = [
        sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels
    ]
    assert [(one["host"], one["port"]) for one in own] == [("one", 1), ("two", 26379), ("::1", 3)]
    assert {one["password"] for one in own} == {"s&cret"}
    assert {one["ssl_cert_reqs"] for one in own} == {"none"}


async def test_a_pool_with_a_limit_lets_commands_wait(sentinels: Sentinels) -> None:
    pool = open_pool(sentinels.url(), wait_seconds=0.05, max_connections=1)
    first = await pool.get_connection()
    with pytest.raises(redis.ConnectionError, match="No connection available"):
        await pool.get_connection()
    await pool.release(first)
    await pool.release(await pool.get_connection())
    await pool.disconnect()


def test_a_failover_that_throws_writes_away_is_refused(sentinels: Sentinels) -> None:
    require_safe_failover(sentinels.url())
    require_safe_failover(f"redis://127.0.0.1:{sentinels.servers[0].port}")
    for server in sentinels.servers:  # the replica may be the next primary
        with redis.Redis.from_url(server.url()) as administrator:
            administrator.config_set("min-replicas-to-write", 0)
            said = f"{server.port} has min-replicas-to-write 0: a failover would throw away writes"
            with pytest.raises(UnsafeFailoverError, match=said):
                require_safe_failover(sentinels.url())
            administrator.config_set("min-replicas-to-write", 1)


async def test_what_no_replica_has_is_not_confirmed(sentinels: Sentinels) -> None:
    primary, replica = sentinels.servers
    connection = AsyncConnection.open(sentinels.url())
    await connection.command("SET", "fact", "1")
    assert await connection.facts(("GET", "fact")) == [b"1"]
    with redis.Redis.from_url(primary.url()) as administrator:
        administrator.config_set("min-replicas-to-write", 0)  # else the write itself is refused
        connection.disk.seconds = 0.2
        replica.pause()
        try:
            with pytest.raises(NotOnDiskError, match="that it is on its disk and with a replica"):
                await connection.facts(("GET", "fact"))
        finally:
            replica.resume()
            administrator.config_set("min-replicas-to-write", 1)
    connection.disk.seconds = 30
    assert await connection.facts(("GET", "fact")) == [b"1"]
    await connection.close()


def test_sentinels_that_are_away_or_know_no_such_name_are_an_outage(sentinels: Sentinels) -> None:
    said = "the sentinels name no primary now; where no failover is under way, look at them"
    unknown = sentinels.url().replace("/jobs", "/other")
    for url in (unknown, "redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs"):
        connection = Connection.open(url, retries=0)
        with pytest.raises(StoreUnavailableError, match=said):
            connection.command("PING")
        connection.close()


@pytest.mark.parametrize("module", ["control_plane", "training_worker"])
def test_the_services_refuse_to_start_with_it(
    sentinels: Sentinels, tmp_path: Path, module: str
) -> None:
    with redis.Redis.from_url(sentinels.servers[0].url()) as administrator:
        administrator.config_set("min-replicas-to-write", 0)
        ended = subprocess.run(
            [sys.executable, "-P", "-m", module, f"--artifact-root={tmp_path}"],
            env=clean_environment() | {"TRAINING_ENGINE_REDIS_URL": sentinels.url()},
            capture_output=True,
            text=True,
            timeout=120,
        )
        administrator.config_set("min-replicas-to-write", 1)
    assert ended.returncode == 1
    assert "set `min-replicas-to-write 1` on every server" in ended.stderr
    assert sentinels.servers[0].password not in ended.stderr
