"""Clients of a Redis server, or of the server that Sentinel names as the primary.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/NAME[/DATABASE]

`rediss` and `rediss+sentinel` speak TLS, `unix` names a socket. The hosts of the second form are
sentinels, NAME is what they call the primary; user and password are those of the servers. The query
may have redis-py's options, and `sentinel_username` and `sentinel_password` for the sentinels.

Each new connection asks the sentinels which server is the primary. A connection that is open stays
where it is: `connection.py` closes it when the server refuses what only a primary does.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SENTINEL_PORT = 26379
_SENTINEL_SECONDS = 0.5
"""Deadline of one sentinel's answer; the next one is asked then."""

_SAFE = "set `min-replicas-to-write 1` on every server"


class UnsafeFailoverError(ValueError):
    """A failover would throw away writes that the server has confirmed."""


@dataclass(frozen=True)
class _Sentinels:
    """What a URL with `+sentinel` says.

    Attributes:
        addresses: host and port of each sentinel.
        name: what they call the primary.
        server: redis-py's options for a connection to a server.
        own: redis-py's options for a connection to a sentinel.
    """

    addresses: list[tuple[str, int]]
    name: str
    server: dict[str, Any]
    own: dict[str, Any]


def has_sentinels(url: str) -> bool:
    """Whether the URL names sentinels in place of a server."""
    return urlsplit(url).scheme.endswith("+sentinel")


def replicas_of(url: str) -> int:
    """Return how many replicas must have a write for it to survive the primary: 1 or 0."""
    return 1 if has_sentinels(url) else 0


def check_url(url: str) -> str:
    """Return the URL as it is.

    Raises:
        ValueError: It cannot be used; the text has no password.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise ValueError(
            f"the Redis URL begins with {scheme!r}; it must be redis://, rediss://, unix:// or "
            "redis+sentinel://; try redis://127.0.0.1:6379/0"
        )
    if has_sentinels(url):
        _sentinels(url)
    return url


def open_client(url: str, **options: Any) -> redis.Redis:
    """Return a synchronous client that connects lazily. `options` are those of redis-py.

    Raises:
        ValueError: The URL cannot be used.
    """
    check_url(url)
    if not has_sentinels(url):
        return redis.Redis.from_url(url, **options)
    place = _sentinels(url)
    kind: Any = redis.sentinel.SentinelConnectionPool  # redis-py leaves these classes untyped
    return redis.Redis.from_pool(kind(place.name, _manager(place), **{**place.server, **options}))


def open_pool(url: str, *, wait_seconds: float | None = None, **options: Any) -> Any:
    """Return a pool of asynchronous connections. `options` are those of redis-py.

    `wait_seconds`: how long a command waits where all `max_connections` are in use; without it
    there is no such limit.

    Raises:
        ValueError: The URL cannot be used.
    """
    check_url(url)
    if wait_seconds is not None:
        options["timeout"] = wait_seconds
    if not has_sentinels(url):
        plain = redis.asyncio.ConnectionPool
        waiting = redis.asyncio.BlockingConnectionPool
        return (plain if wait_seconds is None else waiting).from_url(url, **options)
    place = _sentinels(url)
    own = {**place.own, "retry": redis.asyncio.retry.Retry(NoBackoff(), 0)}
    sentinel: Any = redis.asyncio.sentinel.Sentinel
    kind: Any = _PrimaryPool if wait_seconds is None else _BlockingPrimaryPool
    manager = sentinel(place.addresses, sentinel_kwargs=own)
    return kind(place.name, manager, **{**place.server, **options})


def require_safe_failover(url: str) -> None:
    """Check that no server behind the sentinels confirms writes that a failover throws away.

    In a failover that is ordered (SENTINEL FAILOVER), the old primary goes on confirming writes for
    about eleven seconds, and then discards them, unless it refuses writes that no replica takes.
    Returns at once for a URL without sentinels.

    Raises:
        UnsafeFailoverError: `min-replicas-to-write` of a server is 0.
        redis.RedisError: The primary does not answer.
    """
    if not has_sentinels(url):
        return
    place = _sentinels(url)
    with closing(_manager(place)) as manager:
        _require_replicas(manager.discover_master(place.name), place)
        for replica in manager.discover_slaves(place.name):
            with suppress(RedisError):  # one that is away is looked at by the next process
                _require_replicas(replica, place)


def _require_replicas(address: tuple[str, int], place: _Sentinels) -> None:
    options = {"host": address[0], "port": address[1], **place.server, **_DEADLINES}
    with redis.Redis(**options) as server:
        try:
            found = server.config_get("min-replicas-to-write")
        except redis.ResponseError:
            return  # it does not say, as servers that others run do
    if int(found.get("min-replicas-to-write", 1)) == 0:
        raise UnsafeFailoverError(
            f"the Redis server {address[0]}:{address[1]} has min-replicas-to-write 0: a failover "
            f"would throw away writes that it has confirmed; {_SAFE} (primary and replicas)"
        )


def _manager(place: _Sentinels) -> Any:
    sentinel: Any = redis.sentinel.Sentinel
    own = {**place.own, "retry": Retry(NoBackoff(), 0)}
    return sentinel(place.addresses, sentinel_kwargs=own)


_DEADLINES = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS}


def _sentinels(url: str) -> _Sentinels:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    addresses = [_address(host) for host in hosts.split(",") if host]
    if not addresses or not name or (database and not database.isdecimal()):
        raise ValueError(
            "the Redis URL must name the sentinels, the primary and, if it is not 0, the number of "
            "the database, as in redis+sentinel://sentinel-1:26379,sentinel-2:26379/NAME/0"
        )
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    own: dict[str, Any] = {
        option: query.pop(f"sentinel_{option}")
        for option in ("username", "password")
        if f"sentinel_{option}" in query
    }
    # redis-py's own reading of a URL knows the type of each option.
    read: Any = parse_url
    server = dict(read(f"redis://{credentials}@host/{database}?{urlencode(query)}"))
    server.pop("host")
    if parts.scheme == "rediss+sentinel":
        server["ssl"] = own["ssl"] = True
        own |= {key: value for key, value in server.items() if key.startswith("ssl_")}
    return _Sentinels(addresses, unquote(name), server, {**own, **_DEADLINES})


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port or _SENTINEL_PORT


class _PrimaryPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """Asynchronous connections to the primary. None to a sentinel stays open."""

    async def get_master_address(self) -> Any:
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call]
        finally:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.connection_pool.disconnect(inuse_connections=False)


class _BlockingPrimaryPool(_PrimaryPool, redis.asyncio.BlockingConnectionPool):
    """The same, with a limit; a command waits until one of its connections is free."""
