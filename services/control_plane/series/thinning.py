"""As many points of a curve as a chart has room for.

The axis is cut into equal parts, and each part keeps its least and its greatest value. Largest
triangle three buckets (LTTB), the other usual way, draws smoother lines and drops spikes: the
question here is often whether there was one. It also chooses each point by the one before, so that
it cannot be computed for all parts at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from control_plane.series.growing import Floats

_ENDS = 2
"""The first and the last point are always kept, so that a curve begins and ends where it does."""


def kept_places(x: Floats, y: Floats, most: int, *, log_x: bool = False) -> NDArray[np.intp]:
    """Return the places of at most `most` points to draw, ascending; `x` ascends."""
    if len(x) <= most:
        return np.arange(len(x))
    if most <= _ENDS:
        return np.array([0, len(x) - 1])[:most]
    starts = _part_starts(x, (most - _ENDS) // 2, log_x)
    extremes = [_first_places(y, starts, of_parts) for of_parts in (np.minimum, np.maximum)]
    return _ascending([0, len(x) - 1], *extremes, size=len(x))


def _ascending(*places: Sequence[int] | NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Return the places below `size`, each once; faster than a sort."""
    is_named = np.zeros(size + 1, bool)
    for each in places:
        is_named[each] = True
    return np.flatnonzero(is_named[:size])


def _first_places(y: Floats, starts: NDArray[np.intp], extreme: np.ufunc) -> NDArray[np.intp]:
    """Return where each part has its extreme value first."""
    lengths = np.diff(starts, append=len(y))
    places = np.flatnonzero(y == np.repeat(extreme.reduceat(y, starts), lengths))
    return places[np.searchsorted(places, starts)]


def _part_starts(x: Floats, parts: int, log_x: bool) -> NDArray[np.intp]:
    """Return where the parts begin that have points."""
    first, last = float(x[0]), float(x[-1])
    if log_x:
        positive = x[np.searchsorted(x, 0.0, side="right") :]
        first = float(positive[0]) if len(positive) else last
        edges = np.geomspace(first, last, parts + 1) if 0 < first < last else np.empty(0)
    else:
        edges = np.linspace(first, last, parts + 1)
    return _ascending([0], np.searchsorted(x, edges[:-1]), size=len(x))
