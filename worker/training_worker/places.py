"""How often the workers of other nodes have renewed their places in an attempt."""

from __future__ import annotations

from collections.abc import Mapping

from job_store.attempts import PLACE_DONE, PLACE_LOST

_REPORT_SECONDS = 2.0
"""In which rank 0, which a lost place disconnects too, may report the attempt's end by itself."""


class PlaceCounts:
    """Finds the place whose count has not changed for too long, or whose processes were lost.

    Args:
        nodes: of the job; with one there is no other place.
        patience_seconds: that a count may stay the same.
    """

    def __init__(self, nodes: int, patience_seconds: float) -> None:
        self.expected = range(1, nodes)
        """The places."""
        self.lost: int | None = None
        """The first place that was found to be lost."""
        self._patience = patience_seconds
        self._seen: dict[int, tuple[int, float]] = {}

    def observe(self, counts: Mapping[int, int], now: float) -> None:
        """Note the counts at `now`, in seconds of any clock."""
        for place in self.expected:
            count = counts.get(place, 0)
            seen, since = self._seen.get(place, (count, now))
            self._seen[place] = (count, since if seen == count else now)
            has_ended = count == PLACE_LOST
            patience = min(self._patience, _REPORT_SECONDS) if has_ended else self._patience
            is_late = now - self._seen[place][1] >= patience
            if is_late and count != PLACE_DONE and self.lost is None:
                self.lost = place
