"""As many points of a curve as a chart has room for.

The axis is cut into equal parts, and each part keeps its least and its greatest value. Largest
triangle three buckets (LTTB), the other usual way, draws smoother lines and drops spikes: the
question here is often whether there was one. It also chooses each point by the one before, so that
it cannot be computed for all parts at once.
"""

from __future__ import annotations

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
    ends = [*starts[1:], len(x)]
    kept = [0, len(x) - 1]
    for start, end in zip(starts, ends, strict=True):
        part = y[start:end]
        kept += (start + int(part.argmin()), start + int(part.argmax()))
    return np.unique(kept)


def _part_starts(x: Floats, parts: int, log_x: bool) -> list[int]:
    """Return where the parts begin that have points."""
    first, last = float(x[0]), float(x[-1])
    if log_x:
        positive = x[np.searchsorted(x, 0.0, side="right") :]
        first = float(positive[0]) if len(positive) else last
        edges = np.geomspace(first, last, parts + 1) if 0 < first < last else np.empty(0)
    else:
        edges = np.linspace(first, last, parts + 1)
    starts = np.searchsorted(x, edges[:-1])
    return [int(start) for start in np.unique([0, *starts]) if start < len(x)]
