"""Remembers what looks at a run's files and at this machine found, while they are what they were.

Sweeps and retries start many jobs with one configuration on one file. A look reads the head of the
file in a thread, which takes about as long as all else that a start does.
"""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Hashable, Sequence
from pathlib import Path

from app.training.memory import machine_memory
from app.training.preflight import Findings

_MOST = 256
_MEMORY_SECONDS = 60.0


class PreflightCache:
    """Findings without problems, by configuration and by the state of the files."""

    def __init__(self) -> None:
        self._findings: dict[Hashable, Findings] = {}
        self._memory: int | None = None
        self._memory_read_at = -math.inf

    def memory(self) -> int | None:
        """`machine_memory()`, read again after a minute: it reads some ten files."""
        now = time.monotonic()
        if now - self._memory_read_at >= _MEMORY_SECONDS:
            self._memory, self._memory_read_at = machine_memory(), now
        return self._memory

    def find(self, key: Hashable | None) -> Findings | None:
        """Return what was found under this key before."""
        return None if key is None else self._findings.get(key)

    def remember(self, key: Hashable | None, found: Findings) -> Findings:
        """Keep what was found, unless it is a problem, which somebody is about to mend."""
        if key is not None and not found.problems:
            if len(self._findings) >= _MOST:
                self._findings.clear()
            self._findings[key] = found
        return found


def key_of(document: str, files: Sequence[Path | None]) -> Hashable | None:
    """Return a key that changes with the configuration and with any of the files.

    None where a look cannot be remembered: a folder may change in any of its files.
    """
    states = [None if path is None else _state(path) for path in files]
    if any(path is not None and state is None for path, state in zip(files, states, strict=True)):
        return None
    return (document, *states)


def _state(path: Path) -> tuple[str | int, ...] | None:
    """Return what the kernel changes at each write of a file; None for what is not a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (str(path), found.st_dev, found.st_ino, found.st_size, *times)
