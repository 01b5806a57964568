"""How long to wait after failures before the next try."""

from __future__ import annotations

_MOST_DOUBLINGS = 60
"""More would leave the range of a float; no pause of ours is doubled so often."""


def pause_seconds(failures: int, first: float, longest: float) -> float:
    """Seconds to wait after so many failures in a row: `first`, doubled with each, to `longest`."""
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    return min(first * 2.0**doublings, longest)
