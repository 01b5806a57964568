"""How much of the differences between children one parameter alone accounts for.

Epsilon squared on ranks (the adjusted eta squared of a one-way analysis): scores become ranks,
children are grouped by their value, and the share of the ranks' variance between the groups is
corrected for the number of groups. It needs no model and no randomness. It sees no interaction of
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MOST_GROUPS = 5
"""Distinct numbers beyond which they are grouped into thirds."""


def importance(values: Mapping[int, Any], order: Sequence[int]) -> float | None:
    """Return the share for one parameter, in [0, 1]; None where no group has two children.

    Args:
        values: The parameter's value of each child.
        order: The children that have a score, the best first.
    """
    groups: dict[Any, list[int]] = {}
    for rank, number in enumerate(order):
        groups.setdefault(_group(values, order, number), []).append(rank)
    n, k = len(order), len(groups)
    if k >= n or n < 3:
        return None
    mean = (n - 1) / 2
    total = sum((rank - mean) ** 2 for rank in range(n))
    between = sum(len(ranks) * (sum(ranks) / len(ranks) - mean) ** 2 for ranks in groups.values())
    within = (total - between) / (n - k)
    return max(0.0, min(1.0, (between - (k - 1) * within) / total))


def _group(values: Mapping[int, Any], order: Sequence[int], number: int) -> Any:
    value = values[number]
    among = [values[each] for each in order]
    is_numeric = all(isinstance(each, int | float) and not isinstance(each, bool) for each in among)
    if not is_numeric or len(set(among)) <= _MOST_GROUPS:
        return str(value)
    smaller = sum(each < value for each in among)
    return 3 * smaller // len(among)
