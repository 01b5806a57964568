"""Which source of a mixture each sample is taken from, as a pure function of the sample's number.

Every prefix of the samples holds each source's share to within one sample. The order repeats after
`period` samples, in which each source has a whole number of them. Standard library only.

It is the schedule of a machine that works on one job at a time, and of periodic jobs that each get
a fixed share: the next one is, of those that are not ahead of their share, the one that would fall
behind first. That keeps every job within one unit of its share (Baruah, Cohen, Plaxton and Varvel,
"Proportionate progress", Algorithmica 1996).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

LONGEST_PERIOD = 100_000
"""Samples. Weights whose exact shares need a longer one are rounded to its parts."""


def whole_shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Return each source's samples in a period; their sum is the period's length.

    Weights count as the decimals that they are written as: 0.7 and 0.3 are 7 and 3 of 10. A source
    has one sample of a period at least.
    """
    exact = [Fraction(repr(float(weight))) for weight in weights]
    total = sum(exact)
    parts = [weight / total for weight in exact]
    period = math.lcm(*(part.denominator for part in parts))
    if period > LONGEST_PERIOD:
        return _rounded(parts)
    return tuple(int(part * period) for part in parts)


def _rounded(parts: Sequence[Fraction]) -> tuple[int, ...]:
    whole = [max(1, math.floor(part * LONGEST_PERIOD)) for part in parts]
    rests = [part * LONGEST_PERIOD - math.floor(part * LONGEST_PERIOD) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda source: rests[source], reverse=True)
    missing = LONGEST_PERIOD - sum(whole)
    for source in by_rest[: max(missing, 0)]:
        whole[source] += 1
    whole[whole.index(max(whole))] += min(missing, 0)
    return tuple(whole)


@lru_cache(maxsize=8)
def order_of_sources(shares: tuple[int, ...]) -> tuple[int, ...]:
    """Return the source of each sample of a period."""
    period = sum(shares)
    taken = [0] * len(shares)
    ahead: list[tuple[int, int]] = []
    ready = [(_deadline(0, share, period), source) for source, share in enumerate(shares)]
    heapq.heapify(ready)
    order = []
    for place in range(period):
        while ahead and ahead[0][0] <= place:
            source = heapq.heappop(ahead)[1]
            heapq.heappush(ready, (_deadline(taken[source], shares[source], period), source))
        source = heapq.heappop(ready)[1]
        order.append(source)
        taken[source] += 1
        heapq.heappush(ahead, (taken[source] * period // shares[source], source))
    return tuple(order)


def _deadline(taken: int, share: int, period: int) -> int:
    """Return the place before which a source's next sample must come, by its share."""
    return -(-(taken + 1) * period // share)
