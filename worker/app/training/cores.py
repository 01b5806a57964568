"""How many cores this process may use, and whether other work takes them away.

A step's threads wait for the slowest of them. Beside other load, or with more threads than a
container's quota has cores, one of them is nearly always off its core, and a run becomes many times
slower than with one thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

logger = logging.getLogger(__name__)

_FIRST_CHECK_SECONDS = 5.0
_CHECK_SECONDS = 15.0
"""Between two checks; the first comes sooner."""
_LEAST_SHARE = 0.6
"""Threads that have their cores to themselves get more than this of their time: they spin while
they wait for each other."""
_OTHER_LOAD = 0.5
"""Load average beyond the cores that is not of this run's own threads."""


def usable_cores() -> int:
    """Cores that this process may use at a time: its affinity, and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cgroup_quota()
    return max(1, min(cores or 1, int(quota) if quota is not None else cores or 1))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Cores that the control groups of this process allow it, or None without a limit.

    Reads version 2 (`cpu.max`, the lowest from the process's own group up to the root) and
    version 1 (`cpu.cfs_quota_us`). `root` is another file system than the machine's.
    """
    limits = [_cores(text) for text in _limits(root)]
    return min((cores for cores in limits if cores is not None), default=None)


def _limits(root: Path) -> Iterator[str]:
    """Texts such as `200000 100000`: microseconds of a core in a period of so many."""
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                group = groups / path.lstrip("/")
                yield from _texts(folder / "cpu.max" for folder in [group, *group.parents])
    with suppress(OSError):
        quota, period = ((groups / f"cpu/cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        yield f"{quota.strip()} {period.strip()}"


def _texts(files: Iterator[Path]) -> Iterator[str]:
    for file in files:
        with suppress(OSError):
            yield file.read_text()


def _cores(text: str) -> float | None:
    quota, _, period = text.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", or -1
    return int(quota) / int(period)


def share_cores(processes: int = 1) -> None:
    """Give torch this process's share of the usable cores, unless OMP_NUM_THREADS decides that."""
    import torch  # here, since settings are read without it

    threads = max(1, min(torch.get_num_threads(), usable_cores()) // processes)
    if "OMP_NUM_THREADS" not in os.environ and threads != torch.get_num_threads():
        torch.set_num_threads(threads)


class ContentionWatch:
    """Notices once that a run's threads do not get their cores, and says what helps.

    Args:
        threads: of this process that compute.
        clock: seconds of wall time; cpu_clock: of this process's CPU time, all threads together.
    """

    def __init__(
        self,
        threads: int,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        load_average: Callable[[], float] = lambda: os.getloadavg()[0],
    ) -> None:
        self._threads, self._cores = threads, cores
        self._clock, self._cpu_clock, self._load_average = clock, cpu_clock, load_average
        self._since = (clock(), cpu_clock())
        self._next_check = self._since[0] + _FIRST_CHECK_SECONDS
        if threads < 2:
            self._next_check = float("inf")
        elif threads > cores:
            self._notice(f"this process has {threads} threads for {_cores_text(cores)}", cores)

    def check(self) -> None:
        """Warn once if the threads do not get their cores; call it after each step."""
        now = self._clock()
        if now < self._next_check:
            return
        cpu = self._cpu_clock()
        used = (cpu - self._since[1]) / (now - self._since[0])
        self._since, self._next_check = (now, cpu), now + _CHECK_SECONDS
        load = self._load_average()
        if used / self._threads < _LEAST_SHARE and load > self._cores + _OTHER_LOAD:
            self._notice(
                f"{self._threads} threads got {used:.1f} cores' time of {self._threads}, and the "
                f"machine's load is {load:.1f} on {_cores_text(self._cores)}: other work competes "
                "for them",
                max(1, min(self._threads - 1, round(used))),
            )

    def _notice(self, why: str, threads: int) -> None:
        """Act on it, once; `threads` is a number that would get its cores."""
        self._next_check = float("inf")
        logger.warning(
            "training may be many times slower than it could be: %s, and each step waits for its "
            "slowest thread; set TRAINING_ENGINE_THREADS=%d for `up` and workers, "
            "OMP_NUM_THREADS=%d for train.py, or end the other work; a run that resumes keeps "
            "the number of threads that it began with",
            why,
            threads,
            threads,
        )


class YieldingThreads(ContentionWatch):
    """Goes on with fewer threads when those of this process do not get their cores.

    For work that may run beside a training, and whose last bits may depend on the threads. At the
    end of the block there are as many as before. `clocks` are as of `ContentionWatch`.
    """

    def __init__(self, **clocks: Callable[[], float]) -> None:
        import torch  # here, since settings are read without it

        self._set_threads, self._has_yielded = torch.set_num_threads, False
        super().__init__(torch.get_num_threads(), usable_cores(), **clocks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_yielded:
            self._set_threads(self._threads)
            _blas.take_back()

    def _notice(self, why: str, threads: int) -> None:
        self._next_check, self._has_yielded = float("inf"), True
        logger.info("going on with fewer threads (%d): %s", threads, why)
        self._set_threads(threads)
        _blas.lower(threads)


class _BlasThreads:
    """NumPy's threads, which are the whole process's: lowered as long as any work has yielded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lowered, self._before = 0, 0

    def lower(self, threads: int) -> None:
        from app.transformer.blas_threads import blas_threads, set_blas_threads

        with self._lock:
            before = blas_threads() or 1
            if not self._lowered:
                self._before = before
            self._lowered += 1
            set_blas_threads(min(threads, before))

    def take_back(self) -> None:
        from app.transformer.blas_threads import set_blas_threads

        with self._lock:
            self._lowered -= 1
            if not self._lowered:
                set_blas_threads(self._before)


_blas = _BlasThreads()


def _cores_text(cores: int) -> str:
    return "1 core" if cores == 1 else f"{cores} cores"
