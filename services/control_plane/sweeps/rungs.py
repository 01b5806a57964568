"""Successive halving: who goes on after a rung, and the ranking of all children.

Everything here is a function of scores and numbers, never of the order in which children finish. So
a rung is decided once all who take part have finished it (Jamieson & Talwalkar 2016), and not at
any time as in ASHA (Li et al. 2018, arXiv 1810.05934), where who is promoted depends on who was
there first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rung:
    """A decided rung."""

    scores: Mapping[int, float | None]
    """Of each child that took part, by number; None where it has none."""
    kept: tuple[int, ...]
    """The children that go on, by number; of the last rung, the best one."""

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @staticmethod
    def of_plain(stored: Mapping[str, Any]) -> Rung:
        """Return what `to_plain` gave; JSON has text for numbers as keys."""
        scores = {int(number): score for number, score in stored["scores"].items()}
        return Rung(scores, tuple(stored["kept"]))


def pause_steps(first: int, factor: int, max_steps: int) -> tuple[int, ...]:
    """Return the steps at which rungs end: `first`, times `factor` each, before `max_steps`."""
    steps = []
    while first < max_steps:
        steps.append(first)
        first *= factor
    return tuple(steps)


def decided(scores: Mapping[int, float | None], goal: str, factor: int, *, is_last: bool) -> Rung:
    """Return the decision about a rung: the best `1 / factor` go on, at least one.

    A child without a finite score goes on nowhere.
    """
    finite = [number for number in ordered(scores, goal) if _is_finite(scores[number])]
    places = 1 if is_last else max(1, len(scores) // factor)
    clean = {number: score if _is_finite(score) else None for number, score in scores.items()}
    return Rung(clean, tuple(sorted(finite[:places])))


def ordered(scores: Mapping[int, float | None], goal: str) -> list[int]:
    """Return the children, the best first; equal ones by number, those without a score last."""
    sign = -1 if goal == "max" else 1

    def key(number: int) -> tuple[bool, float, int]:
        score = scores[number]
        if score is None or not math.isfinite(score):
            return True, 0.0, number
        return False, sign * score, number

    return sorted(scores, key=key)


def _is_finite(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def ranking(rungs: Sequence[Rung], goal: str, *, is_over: bool) -> dict[int, int]:
    """Return the rank of each child whose last rung is decided, 1 for the best.

    A child of a later rung is before those of earlier ones. While the sweep is not over, those that
    go on have the first ranks to win.
    """
    goes_on = () if is_over or not rungs else rungs[-1].kept
    ranks: dict[int, int] = {}
    for rung in reversed(rungs):
        for number in ordered(rung.scores, goal):
            if number not in goes_on:
                ranks.setdefault(number, len(goes_on) + len(ranks) + 1)
    return ranks
