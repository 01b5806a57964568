"""Which errors of Redis mean that the server cannot serve now, and what an operator can do then.

redis-py gives some errors a class and takes their code off the text; others keep their code in the
text and have no class of their own. A script reports some of them under a code of its own.
"""

from __future__ import annotations

import re

from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from job_store.errors import StoreUnavailableError

_REPLICA = (
    "it is a read-only replica; make it the primary again, or point the Redis URL at the primary"
)
_CLUSTER = "it is part of a Redis Cluster, which is not supported; use one primary with replicas"
_NO_PRIMARY = (
    "the sentinels name no primary now; where no failover is under way, look at them, and at the "
    "addresses and the name in the Redis URL"
)
_CUT_OFF = f"its link to its primary is down, and {_REPLICA}"
_FULL = "its memory is full (maxmemory); raise it, or delete jobs"
_LOADING = "it still reads its data after a start; wait until it has"
_FORBIDDEN = "its access rules (ACL) forbid what this process needs ({said}); allow its user that"

# The first class that fits decides, so subclasses come before their bases.
_BY_CLASS: tuple[tuple[type[RedisError], str], ...] = (
    (MasterNotFoundError, _NO_PRIMARY),
    (AsyncMasterNotFoundError, _NO_PRIMARY),
    (AuthenticationError, "it refuses the password; set the one of the server"),
    (BusyLoadingError, _LOADING),
    (OutOfMemoryError, _FULL),
    (ReadOnlyError, _REPLICA),
    (MasterDownError, _CUT_OFF),
    (NoPermissionError, _FORBIDDEN),
    (ClusterDownError, _CLUSTER),
    (AskError, _CLUSTER),  # and MovedError
    (TryAgainError, _CLUSTER),
    (ClusterCrossSlotError, _CLUSTER),
    (InvalidResponse, "it does not answer as a Redis server does; correct the Redis URL"),
)
_BY_CODE = {
    "NOREPLICAS": "too few of its replicas are connected (min-replicas-to-write); bring them back",
    "MISCONF": "it cannot write to its disk; make room there, or repair it",
    "BUSY": "it is busy with a long script; wait, or end that by SCRIPT KILL",
    "UNBLOCKED": "it broke off a wait, because its role changes",
    "NOAUTH": "it asks for a password; put the server's into the Redis URL",
    "ACL failure in script": _FORBIDDEN,
    # Where a transaction was given up, the text names the cause: "… because of: OOM …".
    "OOM": _FULL,
    "READONLY": _REPLICA,
    "NOPERM": _FORBIDDEN,
    "MASTERDOWN": _CUT_OFF,
    "LOADING": _LOADING,
    "CLUSTERDOWN": _CLUSTER,
}
_CODE = re.compile(rf"(?:^|[:-] ?)({'|'.join(_BY_CODE)})\b")
_AS_TUPLE = re.compile(r"\((['\"])(.*)\1,\)")
"""How asyncio's pipelines write the text."""
_SCRIPT = re.compile(r" script: [0-9a-f]{40}.*")


def unavailable(error: RedisError) -> StoreUnavailableError | None:
    """Return the StoreUnavailableError that `error` means; None where waiting does not help.

    Its text says what to do, and repeats no word of a command: that may hold a secret.
    """
    said = _said(error)
    why = _reason(error, said)
    return None if why is None else StoreUnavailableError(why.format(said=said))


def changes_role(error: RedisError) -> bool:
    """Whether the server is, or is about to be, a replica: another one may be the primary."""
    refused = isinstance(error, ReadOnlyError | MasterDownError) or breaks_off(error)
    return refused or "NOREPLICAS" in _said(error)


def breaks_off(error: RedisError) -> bool:
    """Whether the server ended a waiting read before anything came or its time was over."""
    return _said(error).startswith("UNBLOCKED")


def _reason(error: RedisError, said: str) -> str | None:
    if getattr(error, "status_code", None) == "NOAUTH":
        return _BY_CODE["NOAUTH"]
    for kind, why in _BY_CLASS:
        if isinstance(error, kind):
            return why
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return "{said}"
    found = _CODE.search(said)
    return _BY_CODE[found[1]] if found else None


def _said(error: RedisError) -> str:
    """Return the server's text, without the command that redis-py puts before it in a pipeline."""
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    if found := _AS_TUPLE.fullmatch(text):
        text = found[2]
    return _SCRIPT.sub("", text) or type(error).__name__
