"""What the processes of a trainer use: CPU, memory, disk, network, and GPUs where NVML tells.

Read from /proc by the worker's parent, so that it costs the trainer nothing. A value that the
system does not tell is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from training_worker.gpus import Gpus

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_IO_FIELDS = {
    "read_bytes": "system/disk_read_bytes_per_second",
    "write_bytes": "system/disk_written_bytes_per_second",
}


class ProcessTree:
    """A process and all that it has started, for as long as it lives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._gpus = Gpus()
        self._sampled_at = 0.0
        self._totals: dict[tuple[str, int], float] = {}
        self.sample()  # what the first speeds are compared with

    def sample(self) -> dict[str, float]:
        """Return what is used now; speeds are means since the sample before."""
        now = time.monotonic()
        seconds, self._sampled_at = now - self._sampled_at, now
        pids = [*_descendants(self._pid)]
        before, self._totals = self._totals, _totals(self._pid, pids)
        used: dict[str, float] = {}
        for (name, pid), total in self._totals.items():
            # A process that is new has used all of it since the last sample, or nearly so.
            growth = total - before.get((name, pid), 0.0 if pid != self._pid else total)
            used[name] = used.get(name, 0.0) + max(0.0, growth) / max(seconds, 1e-3)
        used["system/memory_bytes"] = float(sum(map(_resident_bytes, pids)))
        return used | self._gpus.sample(pids)


def _descendants(pid: int) -> Iterator[int]:
    """Yield a process and what it has started, and these in turn."""
    waiting = [pid]
    while waiting:
        yield (one := waiting.pop())
        for task in (_PROC / str(one) / "task").glob("*/children"):
            with suppress(OSError):
                waiting += map(int, task.read_text().split())


def _totals(root: int, pids: list[int]) -> dict[tuple[str, int], float]:
    """Return what only grows, by name and process."""
    found = {}
    for pid in pids:
        with suppress(OSError, IndexError, ValueError):
            found["system/cpu_percent", pid] = 100.0 * _cpu_seconds(pid)
        with suppress(OSError, ValueError):
            for line in (_PROC / str(pid) / "io").read_text().splitlines():
                field, _, number = line.partition(": ")
                if field in _IO_FIELDS:
                    found[_IO_FIELDS[field], pid] = float(number)
    with suppress(OSError, IndexError, ValueError):
        received, sent = _network_bytes(root)
        found["system/network_received_bytes_per_second", root] = received
        found["system/network_sent_bytes_per_second", root] = sent
    return found


def _cpu_seconds(pid: int) -> float:
    # The name, in parentheses, may hold anything; what follows it is plain.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _network_bytes(pid: int) -> tuple[float, float]:
    """Return what the process's network has received and sent, without the loopback.

    Linux counts it for a network namespace: for a container, or for the whole machine.
    """
    received = sent = 0.0
    for line in (_PROC / str(pid) / "net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
