"""The exponential moving average, divided by its bias, as TensorBoard draws it."""

from __future__ import annotations

import math

import numpy as np

from control_plane.series.growing import Floats, Growing


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
        counts = self.shown.size + np.arange(1.0, len(values) + 1)
        self.shown.extend(average / (1 - self.weight**counts))


def _averages(values: Floats, weight: float, before: float) -> Floats:
    """Return the undivided average after each value; `before` is that of the values before them.

    The values are laid out in a square. Its columns follow from each other, all rows at once; then
    each row goes on from the end of the one above.
    """
    width = math.isqrt(len(values) - 1) + 1
    rows = -(-len(values) // width)
    table = np.zeros((rows, width))
    table.flat[: len(values)] = (1 - weight) * values
    for column in range(1, width):
        table[:, column] += weight * table[:, column - 1]
    decay = weight ** np.arange(1.0, width + 1)
    for row in table:
        row += decay * before
        before = row[-1]
    return table.ravel()[: len(values)]
