"""How far a run's data is prepared, for people: bytes, speed, time left, lines in the log.

with progress.reporting_to(Preparation(show).advance):
    load_dataset(path, config)
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from app.training import progress

logger = logging.getLogger(__name__)

SHOW_SECONDS: Final = 0.5
"""Between two calls of `show`."""
LOG_SECONDS: Final = 30.0
"""Between two lines of the log, and before the first."""
_SPEED_SAMPLES: Final = 20
"""The speed is that of about the last 10 s."""


class WorkDone(NamedTuple):
    """How far some work is."""

    name: progress.WorkName
    done: int
    """Bytes of the files, as they are on the disk; seconds where nothing is counted."""
    total: int
    """0 where nothing is counted."""
    per_second: float
    """Bytes a second, lately; 0.0 while that is unknown."""

    @property
    def seconds_left(self) -> float | None:
        """None while the speed is unknown."""
        return (self.total - self.done) / self.per_second if self.per_second else None

    def __str__(self) -> str:
        if not self.total:
            return f"{self.name.replace('_', ' ')}: {_time(self.done)}"
        text = f"{self.name} data: {_size(self.done)} of {_size(self.total)}"
        left = self.seconds_left
        return text if left is None else f"{text}, {_size(self.per_second)}/s, {_time(left)} left"


class Preparation:
    """A listener of `progress` that tells `show` about twice a second how far the work is."""

    def __init__(self, show: Callable[[WorkDone], object]) -> None:
        self._show = show
        self._work: progress.FileWork | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SPEED_SAMPLES)
        self._began = self._due = time.monotonic()
        self._log_due = self._due + LOG_SECONDS

    def advance(self, size: int) -> None:
        """Another `size` bytes were worked through; see `progress.Listener`."""
        now, work = time.monotonic(), progress.work()
        if work is not None and (now >= self._due or work is not self._work):
            self._due = now + SHOW_SECONDS
            self._tell(work, now)

    def _tell(self, work: progress.FileWork, now: float) -> None:
        if work is not self._work:
            self._work, self._began = work, now
            self._samples.clear()
        self._samples.append((now, work.done))
        (since, before), (_, done) = self._samples[0], self._samples[-1]
        speed = (done - before) / (now - since) if now > since else 0.0
        if not work.total:
            done, speed = round(now - self._began), 0.0
        shown = WorkDone(work.name, done, work.total, speed)
        self._show(shown)
        if now >= self._log_due:
            self._log_due = now + LOG_SECONDS
            logger.info("%s", shown)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
