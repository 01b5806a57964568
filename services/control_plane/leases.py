"""Watches leases: who has stood still for a whole lease, seen by this process itself.

A pure function of what is observed and of this process's own clock, so that an outage of Redis,
or of this process, declares nobody dead: watching simply begins again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from job_store.records import RunningAttempt

Claim = tuple[str, int, str]
"""Job, attempt and claim id."""


@dataclass
class _Sight:
    count: int
    since: float
    """When this process first saw the lease at `count`."""
    first: float
    """When it began to watch this claim."""


class LeaseWatch:
    """Remembers how long each lease counter has stood still."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds
        self._sights: dict[Claim, _Sight] = {}
        self._looked_at: float | None = None

    def forget(self) -> None:
        """Begin anew: after an outage, or after somebody else led."""
        self._sights.clear()
        self._looked_at = None

    def observe(self, attempts: Iterable[RunningAttempt], now: float) -> list[RunningAttempt]:
        """Note what is seen at `now` (monotonic seconds); returns attempts whose lease ran out."""
        if self._looked_at is not None and now - self._looked_at > self._lease / 2:
            # This process was suspended or starved: it has not watched, and neither may the
            # workers of this machine have run.
            self.forget()
        self._looked_at = now
        seen: dict[Claim, _Sight] = {}
        lost = []
        for attempt in attempts:
            claim = claim_of(attempt)
            sight = self._sights.get(claim) or _Sight(attempt.lease_count, now, now)
            if sight.count != attempt.lease_count:
                sight.count, sight.since = attempt.lease_count, now
            seen[claim] = sight
            if now - sight.since >= self._lease:
                lost.append(attempt)
        self._sights = seen
        return lost

    def watched_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """For how long this process has watched the claim without a break."""
        sight = self._sights.get(claim_of(attempt))
        return now - sight.first if sight else 0.0


def claim_of(attempt: RunningAttempt) -> Claim:
    """What names one claim of one attempt."""
    return (attempt.job_id, attempt.attempt, attempt.claim_id)
