"""The proxies of the rounds: they hold, drop and delay, and act at exactly one script call."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from proxies import ProxyThread, RedisProxy, Trap, called, commands
from redis_server import RedisServer, free_port

from job_store.scripts import script

LEASE = script("lease")


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[RedisProxy]:
    thread = ProxyThread()
    yield RedisProxy(thread, free_port(), lambda: redis_server.port)
    thread.close()


@pytest.fixture
def client(proxy: RedisProxy, redis_server: RedisServer) -> Iterator[redis.Redis]:
    url = redis_server.url(1000).replace(f":{redis_server.port}/", f":{proxy.port}/")
    with redis.Redis.from_url(url, retry=None, socket_timeout=1) as client:
        client.flushdb()
        yield client


def test_commands_pass_whole_also_in_pieces_and_pipelines(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(100):
            pipeline.set(f"key {number}", "x" * number * 1000)
        pipeline.execute()
    assert client.dbsize() == 100
    assert client.strlen("key 99") == 99_000


def test_names_of_scripts_are_read_from_the_commands() -> None:
    raw = b"*3\r\n$7\r\nEVALSHA\r\n$40\r\n" + LEASE.sha.encode() + b"\r\n$1\r\n0\r\n"
    assert [called(words) for words, _ in commands(raw * 2 + raw[:-3])] == ["lease", "lease"]
    assert [end for _, end in commands(raw * 2 + raw[:-3])] == [len(raw), 2 * len(raw)]
    assert called([b"eval", LEASE.text.encode()]) == "lease"
    assert called([b"get", b"x"]) == "GET"


@pytest.mark.parametrize("after", [False, True])
def test_a_trap_acts_once_before_or_after_the_server(
    proxy: RedisProxy, client: redis.Redis, after: bool
) -> None:
    acted: list[int] = []
    proxy.arm(Trap("INCRBY", after, lambda: acted.append(1)))
    client.set("other", 1)
    with pytest.raises(redis.ConnectionError):
        client.incr("count")
    assert acted == [1]
    assert client.get("count") == (b"1" if after else None)
    client.incr("count")
    assert acted == [1]


def test_several_traps_wait_on_one_connection(proxy: RedisProxy, client: redis.Redis) -> None:
    acted: list[str] = []
    traps = [Trap(name, False, lambda name=name: acted.append(name)) for name in ("SET", "GET")]
    for trap in traps:
        proxy.arm(trap)
    with pytest.raises(redis.ConnectionError):
        client.get("x")
    assert acted == ["GET"]
    assert [proxy.disarm(trap) for trap in traps] == [True, False]
    assert client.set("x", 1)


def test_what_is_held_passes_later_and_what_is_cut_never(
    proxy: RedisProxy, client: redis.Redis
) -> None:
    client.ping()
    proxy.hold()
    with pytest.raises(redis.TimeoutError):
        client.set("held", 1)
    proxy.cut()
    proxy.release()
    assert client.get("held") is None
    proxy.delay_seconds = 0.1
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.2
