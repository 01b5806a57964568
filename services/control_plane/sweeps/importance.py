"""How much of the differences between children one parameter alone accounts for.

Epsilon squared on ranks (the adjusted eta squared of a one-way analysis): scores become ranks,
children are grouped by their value, and the share of the ranks' variance between the groups is
corrected for the number of groups. It needs no model and no randomness. It sees no interaction of
parameters.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

_MOST_GROUPS = 5
"""Distinct numbers beyond which neighbours are grouped: into thirds, and of more than 15 children
into as many groups as there are children in each. Thirds alone would hide a narrow best range."""


def importance(values: Mapping[int, Any], order: Sequence[int]) -> float | None:
    """Return the share for one parameter, in [0, 1]; None where no group has two children.

    Args:
        values: The parameter's value of each child.
        order: The children that have a score, the best first.
    """
    groups: dict[Any, list[int]] = {}
    for rank, group in enumerate(_groups([values[number] for number in order])):
        groups.setdefault(group, []).append(rank)
    n, k = len(order), len(groups)
    if k >= n or n < 3:
        return None
    mean = (n - 1) / 2
    total = sum((rank - mean) ** 2 for rank in range(n))
    between = sum(len(ranks) * (sum(ranks) / len(ranks) - mean) ** 2 for ranks in groups.values())
    within = (total - between) / (n - k)
    return max(0.0, min(1.0, (between - (k - 1) * within) / total))


def _groups(values: Sequence[Any]) -> list[Any]:
    """Return the group of each value."""
    are_numbers = all(isinstance(each, int | float) for each in values)
    if not are_numbers or len(set(values)) <= _MOST_GROUPS:
        return [str(each) for each in values]
    count, ascending = len(values), sorted(values)
    wanted = max(3, math.isqrt(count))
    return [wanted * bisect_left(ascending, each) // count for each in values]
