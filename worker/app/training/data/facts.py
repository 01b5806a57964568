"""What is known of the content of files, such as a digest, kept in the cache between runs.

A fact is bound to device, inode, size, mtime and ctime of its file. The kernel sets ctime at every
write, and nothing is kept of a file written within the last two seconds, so a fact never belongs to
an earlier content. A file of a few kilobytes is read again instead.

The facts about a folder's files are in one file of the cache, to which processes append: a start on
hundreds of files opens one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.training.data.cache import share, shared_folder
from app.training.reading import open_permitted, permitted, sha256_of

_LEAST_BYTES: Final = 1 << 14
_CLOCK_MARGIN_SECONDS: Final = 2.0
_END: Final = ";"
"""Of a whole line: one that a crash cut off lacks it."""


def content_digest(path: Path, directory: Path) -> str:
    """Return the sha256 of a file's content."""
    return memoized(path, directory, "sha256", lambda: _sha256(path))


def memoized(path: Path, directory: Path, name: str, compute: Callable[[], str]) -> str:
    """Return `compute()`, a fact of one line about a file's content, or what is known of it.

    Args:
        directory: the cache's.
        name: which fact it is.

    Raises:
        PathNotAllowedError: The file is outside the folders that may be read from, though a fact
            may be known of it.
    """
    status = permitted(path).stat()
    if status.st_size < _LEAST_BYTES:
        return compute()
    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
    identity = f"{name}:{status.st_dev}:{status.st_ino}:{status.st_size}:{times}"
    key = hashlib.sha256(identity.encode()).hexdigest()
    facts = directory / "facts" / f"of-{_name_of_folder(path.parent)}"
    if (known := _look_up(facts, key)) is not None:
        return known
    fact = compute()
    if time.time() - max(status.st_ctime, status.st_mtime) > _CLOCK_MARGIN_SECONDS:
        with contextlib.suppress(OSError):  # a fact that cannot be kept only costs time
            _append(facts, key, fact)
    return fact


@functools.lru_cache(maxsize=1024)
def _name_of_folder(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()


@dataclass
class _Known:
    """The facts that this process has read of a file of facts."""

    inode: int
    read: int = 0
    """Bytes, up to the end of a line; the file only grows."""
    facts: dict[str, str] = field(default_factory=dict)


_known_of: dict[Path, _Known] = {}


def _look_up(path: Path, key: str) -> str | None:
    """Return a fact; what was added to the file is read only where memory does not hold it."""
    known = _known_of.get(path)
    if known is not None and key in known.facts:
        return known.facts[key]
    try:
        return _updated(path).facts.get(key)
    except OSError:
        return None


def _updated(path: Path) -> _Known:
    status = path.stat()
    known = _known_of.get(path)
    if known is None or known.inode != status.st_ino or status.st_size < known.read:
        known = _known_of[path] = _Known(status.st_ino)
    if status.st_size > known.read:
        with path.open("rb") as file:
            file.seek(known.read)
            whole = file.read().rpartition(b"\n")[0]
        known.read += len(whole)
        known.facts.update(_parsed(whole.decode(errors="replace")))
    return known


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, _, fact = line.partition(" ")
        if fact.endswith(_END):
            yield key, fact.removesuffix(_END)


def _append(facts: Path, key: str, fact: str) -> None:
    """Add a line in one write, which begins a new one even where a crash cut off the last."""
    shared_folder(facts.parent, facts.parent.parent)
    is_new = not facts.exists()
    with facts.open("ab", buffering=0) as file:
        file.write(f"\n{key} {fact}{_END}\n".encode())
    if is_new:
        share(facts, facts.parent.parent)


def _sha256(path: Path) -> str:
    with open_permitted(path) as file:
        return sha256_of(file)
