"""Identifiers: a kind, 10 characters of time and 16 of chance, so that ids sort by creation."""

from __future__ import annotations

import re
import secrets
import threading
import time

from job_store.errors import NotFoundError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_KINDS = {"job": "job", "config": "cfg", "checkpoint": "ckpt", "dataset": "ds", "sweep": "swp"}
_PATTERN = {
    kind: re.compile(rf"{prefix}_[0-9a-hjkmnp-tv-z]{{26}}", re.ASCII)
    for kind, prefix in _KINDS.items()
}
_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)


_lock = threading.Lock()
_newest = 0


def new_id(kind: str) -> str:
    """Return a fresh id of this kind (`job`, `config`, `checkpoint`, `dataset`, `sweep`).

    Within a process ids grow even in one millisecond, and when the clock is set back.
    """
    global _newest
    with _lock:
        fresh = (int(time.time() * 1000) << 80) | secrets.randbits(80)
        # Not just + 1: the next id must not be easy to guess from this one.
        _newest = fresh if fresh > _newest else _newest + 1 + secrets.randbits(64)
        number = _newest
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{_KINDS[kind]}_{''.join(reversed(digits))}"


def time_of_id(id: str) -> int:
    """Return when an id was made, in milliseconds since the epoch."""
    number = 0
    for digit in id.partition("_")[2][:26]:
        number = 32 * number + _ALPHABET.index(digit)
    return number >> 80


def new_claim_id() -> str:
    """Return a random claim id, 128 bits, safe in file names."""
    return secrets.token_hex(16)


def check_id(kind: str, text: str) -> str:
    """Return `text` if it has the form of an id of this kind; raise NotFoundError otherwise.

    Ids become parts of Redis keys and of file names, so no other text may pass.
    """
    if not _PATTERN[kind].fullmatch(text):
        raise NotFoundError(kind, text)
    return text


def check_worker_id(text: str) -> str:
    """Return `text` if it may name a worker; raise ValueError otherwise."""
    if not _WORKER_ID.fullmatch(text):
        raise ValueError(
            f"worker_id is {text[:80]!r}; it must be 1 to 128 letters, digits or any of ._:-, "
            "beginning with a letter or digit; try the host name and process id"
        )
    return text
