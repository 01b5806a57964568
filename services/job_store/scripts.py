"""The Lua scripts: how each is put together from its parts, and what their replies mean."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from job_store.errors import (
    FencedError,
    JobStoreError,
    NotFoundError,
    RecordVersionError,
    RequestIdReusedError,
    TooManyTagsError,
    TransitionRefusedError,
)
from job_store.records import RECORD_VERSION

_INCLUDE = re.compile(r"^--- @include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """Text of a script and the SHA-1 under which the server knows it."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return the packaged script of this name, with the parts that it includes."""
    text = _assembled(name, set())
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha)


def _assembled(name: str, present: set[str]) -> str:
    """Return the file's text, with each part that it includes in place, once."""
    if name in present:
        return ""
    present.add(name)
    path = resources.files("job_store") / "scripts" / f"{name}.lua"
    text = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda include: _assembled(include[1], present), text)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_reply(reply: Any, request_id: str = "") -> list[Any] | None:
    """Return what follows `ok` in a script's reply.

    None for `none`; raises what it names otherwise.
    """
    verdict = _text(reply[0])
    if verdict == "ok":
        return list(reply[1:])
    if verdict == "none":
        return None
    raise _error(verdict, [_text(part) for part in reply[1:]], request_id)


def _error(verdict: str, details: list[str], request_id: str) -> JobStoreError:
    if verdict == "not_found":
        return NotFoundError(details[0], details[1])
    if verdict == "refused":
        return TransitionRefusedError(details[0], details[1], details[2], details[3])
    if verdict == "fenced":
        return FencedError(details[0], int(details[1]), details[2])
    if verdict == "too_many_tags":
        return TooManyTagsError(details[0], int(details[1]), int(details[2]))
    if verdict == "reused":
        return RequestIdReusedError(request_id)
    if verdict == "version":
        kind, id, found = details
        return RecordVersionError(kind, id, f"version {found}", f"version {RECORD_VERSION}")
    return JobStoreError(f"a script of the job store answered {verdict!r}")
