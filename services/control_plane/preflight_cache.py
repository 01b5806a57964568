"""Remembers the findings of preflight checks until the configuration or a file of it changes.

Sweeps and retries start many jobs with one configuration on one file. A check reads the head of the
file in a thread, which takes about as long as all else that a start does. The memory size of this
machine is remembered too, for a minute.
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
    """Holds findings without problems, by configuration and by the state of the files."""

    def __init__(self) -> None:
        self._findings: dict[Hashable, Findings] = {}
        self._memory: int | None = None
        self._memory_read_at = -math.inf

    def memory(self) -> int | None:
        """Return `machine_memory()`, read once a minute at most since it reads some ten files."""
        now = time.monotonic()
        if now - self._memory_read_at >= _MEMORY_SECONDS:
            self._memory, self._memory_read_at = machine_memory(), now
        return self._memory

    def find(self, key: Hashable | None) -> Findings | None:
        """Return the findings remembered under this key; None where there are none."""
        return None if key is None else self._findings.get(key)

    def remember(self, key: Hashable | None, findings: Findings) -> Findings:
        """Keep findings without problems, and return them; a problem may be mended any moment."""
        if key is not None and not findings.problems:
            if len(self._findings) >= _MOST:
                self._findings.clear()
            self._findings[key] = findings
        return findings


def key_of(document: str, files: Sequence[Path | None]) -> Hashable | None:
    """Return a key that changes with the configuration and with any of the files.

    None where findings cannot be remembered: a folder may change in any of its files.
    """
    states = [None if path is None else _state(path) for path in files]
    if any(path is not None and state is None for path, state in zip(files, states, strict=True)):
        return None
    return (document, *states)


def _state(path: Path) -> tuple[str | int, ...] | None:
    """Return values that the kernel changes at each write of a file; None for other than files."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (str(path), status.st_dev, status.st_ino, status.st_size, *times)
