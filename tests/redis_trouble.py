"""Puts a real server into a state in which it refuses what it is asked, and out of it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import redis
from redis_server import RedisServer

Trouble = Callable[[RedisServer], AbstractContextManager[None]]

_NOBODY = ("127.0.0.1", "1")  # where no primary listens
_ENDLESS = "while true do end"


@contextmanager
def administrator(server: RedisServer) -> Iterator[redis.Redis]:
    """A client that changes the server's settings."""
    with redis.Redis.from_url(server.url(), retry=None, socket_timeout=5) as client:
        yield client


@contextmanager
def _setting(server: RedisServer, name: str, during: object, after: object) -> Iterator[None]:
    with administrator(server) as client:
        client.config_set(name, during)
        try:
            yield
        finally:
            client.config_set(name, after)


def full(server: RedisServer) -> AbstractContextManager[None]:
    """OOM: the memory is at its bound."""
    return _setting(server, "maxmemory", 1, 0)


def without_replicas(server: RedisServer) -> AbstractContextManager[None]:
    """NOREPLICAS: it wants a replica and has none."""
    return _setting(server, "min-replicas-to-write", 1, 0)


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """READONLY: it was made a replica; blocked reads are told UNBLOCKED."""
    with administrator(server) as client:
        client.execute_command("REPLICAOF", *_NOBODY)
        try:
            yield
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def without_disk(server: RedisServer) -> Iterator[None]:
    """MISCONF: its last snapshot could not be written, for a folder has the file's name."""
    (server.folder / "dump.rdb").mkdir()
    with administrator(server) as client:
        client.config_set("save", "3600 1000000")
        client.bgsave()
        try:
            _wait_for(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
                "the snapshot to fail",
            )
            yield
        finally:
            client.config_set("save", "")
            (server.folder / "dump.rdb").rmdir()


@contextmanager
def cut_off(server: RedisServer) -> Iterator[None]:
    """MASTERDOWN: a replica that serves no stale data has lost its primary."""
    with _setting(server, "replica-serve-stale-data", "no", "yes"), read_only(server):
        yield


def forbidding(*rules: str) -> Trouble:
    """NOPERM: the access rules of the only user forbid commands (`-xadd`)."""

    @contextmanager
    def trouble(server: RedisServer) -> Iterator[None]:
        with administrator(server) as client:
            client.execute_command("ACL", "SETUSER", "default", *rules)
            try:
                yield
            finally:
                client.execute_command("ACL", "SETUSER", "default", "+@all", "allkeys")

    return trouble


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """BUSY: a script runs for longer than clients are made to wait."""

    def run() -> None:
        with administrator(server) as client:
            try:
                client.eval(_ENDLESS, 0)
            except redis.ResponseError:
                pass  # killed below

    with administrator(server) as client:
        client.config_set("busy-reply-threshold", 1)
        script = threading.Thread(target=run)
        script.start()
        try:
            _wait_for(lambda: _is_busy(client), "the server to be busy")
            yield
        finally:
            client.script_kill()
            script.join()


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def unblock_all(server: RedisServer) -> int:
    """Tell every client that waits in a blocking read UNBLOCKED; how many there were."""
    with administrator(server) as client:
        waiting = [row["id"] for row in client.client_list() if "b" in row["flags"]]
        return sum(client.client_unblock(id, error=True) for id in waiting)


def replicate(replica: RedisServer, primary: RedisServer) -> None:
    """Make `replica` a replica of `primary` that is in step with it."""
    for one, other in ((replica, primary), (primary, replica)):
        with administrator(one) as client:
            client.config_set("masterauth", other.password)
            client.config_set("repl-diskless-sync-delay", 0)
    with administrator(replica) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
        _wait_for(
            lambda: client.info("replication").get("master_link_status") == "up",
            "the replica to be in step",
        )


def fail_over(primary: RedisServer, replica: RedisServer) -> None:
    """The orderly way: the two change roles, and nothing is lost."""
    with administrator(primary) as client:
        _wait_for(
            lambda: client.info("replication").get("slave0", {}).get("state") == "online",
            "the primary to see its replica",
        )
        client.execute_command("FAILOVER", "TO", "127.0.0.1", str(replica.port), "TIMEOUT", "5000")
        _wait_for(
            lambda: (
                client.info("replication")["role"] == "slave"
                and client.info("replication")["master_link_status"] == "up"
            ),
            "the roles to be changed",
        )


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
