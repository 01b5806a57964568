"""Whether one mean is below another, or only seems so: Welch's one-sided t-test."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_INTERVALS = 2000


def p_value(low: Sequence[float], high: Sequence[float]) -> float:
    """Return how likely means so far apart are where the mean of `low` is that of `high` or above.

    Both are samples of at least two values; their variances may differ (Welch 1947).
    """
    errors = [statistics.variance(sample) / len(sample) for sample in (low, high)]
    t = (statistics.mean(high) - statistics.mean(low)) / math.sqrt(sum(errors))
    parts = (
        error**2 / (len(sample) - 1) for error, sample in zip(errors, (low, high), strict=True)
    )
    return _beyond(t, sum(errors) ** 2 / sum(parts))


def _beyond(t: float, freedom: float) -> float:
    """Return the probability that Student's t with so many degrees of freedom is above `t`."""
    scale: float = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)
    step = t / _INTERVALS
    # Simpson's rule between 0 and t.
    weights = (1, *(4 if place % 2 else 2 for place in range(1, _INTERVALS)), 1)
    density = (
        weight * (1 + (place * step) ** 2 / freedom) ** (-(freedom + 1) / 2)
        for place, weight in enumerate(weights)
    )
    area: float = scale * step / 3 * sum(density)
    return max(0.5 - area, 0.0)


def summary(values: Sequence[float], unit: str) -> str:
    """Return mean, standard deviation and number of values."""
    deviation = statistics.stdev(values)
    return f"{statistics.mean(values):.4f} ± {deviation:.4f} {unit} ({len(values)})"
