"""The exponential moving average, divided by its bias, as TensorBoard draws it."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import numpy as np

from control_plane.series.growing import Floats, Growing

_HALF_AN_ULP_BITS = 54
"""Binary places after which a number taken from 1 leaves 1."""


class Smoothed:
    """The average of a sequence that grows: `s = w·s + (1 − w)·y`, shown as `s / (1 − w^n)`."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.shown = Growing()
        self._last = 0.0
        """The undivided average after the last value."""

    def extend(self, values: Floats) -> None:
        """Append values, all finite."""
        if not len(values):
            return
        average = _averages(values, self.weight, self._last)
        self._last = float(average[-1])
        biased = average[: max(0, _biased(self.weight) - self.shown.size)]
        counts = self.shown.size + np.arange(1.0, len(biased) + 1)
        biased /= 1 - self.weight**counts
        self.shown.extend(average)


def _biased(weight: float) -> int:
    """Return how many values have a bias: `1 - weight**n` is 1 in floating point for later ones."""
    return 0 if weight == 0 else math.ceil(-_HALF_AN_ULP_BITS / math.log2(weight))


def _averages(values: Floats, weight: float, before: float) -> Floats:
    """Return the undivided average after each value; `before` is that of the values before them.

    The values are laid out in a square. Its columns follow from each other, all rows at once; then
    each row goes on from the end of the one above. Columns are next to each other in memory.
    """
    width = math.isqrt(len(values) - 1) + 1
    rows = -(-len(values) // width)
    table = np.zeros((rows, width))
    np.multiply(values, 1 - weight, out=table.reshape(-1)[: len(values)])
    columns = table.T.copy()
    for left, column in pairwise(columns):
        column += weight * left
    decay = weight ** np.arange(1.0, width + 1)
    whole = float(decay[-1])
    ends = accumulate(columns[-1].tolist(), lambda above, end: end + whole * above, initial=before)
    # The table's memory is used again: to get more from the system takes as long as the sums.
    columns += np.multiply.outer(decay, [*ends][:-1], out=table.reshape(width, rows))
    table[:] = columns.T
    return table.reshape(-1)[: len(values)]
