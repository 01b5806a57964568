"""Curves of one job, made from its columns and extended by what is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from control_plane.series.blocks import joined, read_blocks
from control_plane.series.columns import ATTEMPT, STEP, TIME, Columns
from control_plane.series.growing import Floats, Growing
from control_plane.series.smoothing import Smoothed
from job_store.packed_history import PackedPage

_MOST_SMOOTHED = 4
"""Weights for which the smoothed values of a metric are kept."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """A value, and the first row that has it."""

    value: float
    row: int


class Curve:
    """The finite values of one metric."""

    def __init__(self) -> None:
        self.read = 0
        """Rows of the columns that were looked at."""
        self.rows = Growing()
        """Row of each value."""
        self.values = Growing()
        self.smoothed: dict[float, Smoothed] = {}
        self.least = Extreme(np.inf, 0)
        self.greatest = Extreme(-np.inf, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        averages = [each.shown for each in self.smoothed.values()]
        return sum(each.nbytes for each in (self.rows, self.values, *averages))

    def extend(self, column: Floats) -> None:
        """Take what a column has behind what was read."""
        places = np.flatnonzero(np.isfinite(column))
        self.rows.extend(self.read + places.astype(float))
        values = column if len(places) == len(column) else column[places]
        self.values.extend(values)
        if len(values):
            low, high = int(values.argmin()), int(values.argmax())
            if values[low] < self.least.value:
                self.least = Extreme(float(values[low]), self.read + int(places[low]))
            if values[high] > self.greatest.value:
                self.greatest = Extreme(float(values[high]), self.read + int(places[high]))
        self.read += len(column)

    def shown(self, weight: float) -> Floats:
        """Return the values, smoothed with this weight."""
        if weight == 0:
            return self.values.values
        average = self.smoothed.pop(weight, None) or Smoothed(weight)
        self.smoothed[weight] = average
        while len(self.smoothed) > _MOST_SMOOTHED:
            del self.smoothed[next(iter(self.smoothed))]
        average.extend(self.values.values[average.shown.size :])
        return average.shown.values


@dataclass(slots=True)
class JobCurves:
    """What is held of one job. Hold `lock` while using it."""

    columns: Columns
    lock: Lock = field(default_factory=Lock)
    curves: dict[str, Curve] = field(default_factory=dict)
    axes: dict[str, Growing] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None) -> JobCurves:
        """Return a job as its file has it."""
        return cls(Columns(path))

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        curves = sum(curve.nbytes for curve in self.curves.values())
        return self.columns.nbytes + curves + sum(axis.nbytes for axis in self.axes.values())

    def take(self, page: PackedPage) -> tuple[int, bool]:
        """Add a page of points, and drop what readers do not see any more.

        Returns how many points the page had, and whether any were dropped.
        """
        blocks = [
            block.between(part.first, part.last)
            for part in page.parts
            for block in read_blocks(part.schemas, part.packed)
        ]
        with self.lock:
            found = joined(blocks)
            if len(found):
                self.columns.append(found, page.attempts)
            was_cut = self.columns.cut_invisible(page.attempts)
            if was_cut:
                self.curves.clear()
                self.axes.clear()
        return len(found), was_cut

    def curve(self, metric: str) -> Curve:
        """Return a metric's values, all that there are."""
        curve = self.curves.setdefault(metric, Curve())
        if curve.read < self.columns.rows:
            curve.extend(self.columns.column(metric, curve.read))
        return curve

    def axis(self, name: str) -> Floats:
        """Return where each row is on an axis, one of `_AXES`."""
        axis = self.axes.setdefault(name, Growing())
        if axis.size < self.columns.rows:
            axis.extend(_AXES[name](self.columns, axis))
        return axis.values


def _steps(columns: Columns, known: Growing) -> Floats:
    return columns.column(STEP, known.size)


def _tokens(columns: Columns, known: Growing) -> Floats:
    """Return the tokens that training had seen at each row that is not known yet.

    A row that did not log them lies between two that did; behind the last one of those, each step
    counts for the average of all steps before.
    """
    first = max(0, known.size - 1)
    steps, tokens = columns.column(STEP, first), columns.column("tokens_seen", first)
    logged = np.flatnonzero(np.isfinite(tokens))
    start = (steps[0], known.values[-1]) if known.size else (0.0, 0.0)
    at = np.concatenate([start[:1], steps[logged]])
    seen = np.maximum.accumulate(np.concatenate([start[1:], tokens[logged]]))
    found = np.interp(steps, at, seen)
    if at[-1] > 0:
        behind = steps > at[-1]
        found[behind] = seen[-1] * steps[behind] / at[-1]
    return found[1:] if known.size else found


def _seconds(columns: Columns, known: Growing) -> Floats:
    """Return the seconds of training at each row that is not known yet.

    What passes between two attempts does not count, and a clock that is set back counts as stopped.
    """
    attempts = columns.column(ATTEMPT, max(0, known.size - 1))
    return _clock(columns, known, np.diff(attempts) == 0)


def _wall_seconds(columns: Columns, known: Growing) -> Floats:
    """Return the same with the time between two attempts in it."""
    return _clock(columns, known, counts=True)


def _clock(columns: Columns, known: Growing, counts: NDArray[np.bool_] | bool) -> Floats:
    """Return the sums of what passes between rows, where it counts."""
    times = columns.column(TIME, max(0, known.size - 1))
    passed = np.where(counts, np.maximum(0.0, np.diff(times)), 0.0) / 1000
    before = known.values[-1] if known.size else 0.0
    later = before + np.cumsum(passed)
    return later if known.size else np.concatenate([[0.0], later])


_AXES: dict[str, Callable[[Columns, Growing], Floats]] = {
    "step": _steps,
    "tokens": _tokens,
    "time": _seconds,
    "wall_time": _wall_seconds,
}
