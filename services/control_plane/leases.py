"""Watches attempts: whose lease stands still, who shows no sign of life, who does not stop.

All of it is seen by this process itself and measured by its own monotonic clock. So an outage of
Redis, or of this process, declares nobody dead: watching simply begins again. No clock that can be
set is asked, neither that of Redis nor that of a worker.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from job_store.records import JobStatus, RunningAttempt

Claim = tuple[str, int, str]
"""Job, attempt and claim id."""

K = TypeVar("K", bound=Hashable)


class FirstSeen(Generic[K]):
    """Remembers since when each of some things has been seen at every look."""

    def __init__(self) -> None:
        self._since: dict[K, float] = {}

    def observe(self, seen: Iterable[K], now: float) -> None:
        """Note what is there at `now` (monotonic seconds), and forget what no longer is."""
        self._since = {key: self._since.get(key, now) for key in seen}

    def seconds(self, key: K, now: float) -> float:
        """For how long it has been there; 0 where it is not."""
        return now - self._since.get(key, now)

    def forget(self) -> None:
        """Begin again."""
        self._since.clear()


@dataclass
class _Observation:
    """What is seen of a claim, and since when it is so."""

    count: int
    counted_at: float
    sign: str
    signed_at: float
    first: float
    """When this process began to watch the claim."""
    stopping_since: float | None = None


class AttemptWatch:
    """Remembers for how long each attempt has stood still."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds
        self._sights: dict[Claim, _Observation] = {}
        self._looked_at: float | None = None

    def forget(self) -> None:
        """Begin anew: after an outage, or after somebody else led."""
        self._sights.clear()
        self._looked_at = None

    def observe(self, attempts: Sequence[RunningAttempt], now: float) -> list[RunningAttempt]:
        """Note what is seen at `now` (monotonic seconds); returns attempts whose lease ran out."""
        if self._looked_at is not None and now - self._looked_at > self._lease / 2:
            # This process was suspended or starved: it has not watched, and neither may the
            # workers of this machine have run.
            self.forget()
        self._looked_at = now
        seen = {claim_of(attempt): self._sight(attempt, now) for attempt in attempts}
        self._sights = seen
        return [a for a in attempts if now - seen[claim_of(a)].counted_at >= self._lease]

    def _sight(self, attempt: RunningAttempt, now: float) -> _Observation:
        count, sign = attempt.lease_count, attempt.sign_of_life
        sight = self._sights.get(claim_of(attempt)) or _Observation(count, now, sign, now, now)
        if sight.count != count:
            sight.count, sight.counted_at = count, now
        if sight.sign != sign:
            sight.sign, sight.signed_at = sign, now
        if attempt.status is JobStatus.STOPPING and sight.stopping_since is None:
            sight.stopping_since = now
        return sight

    def watched_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """For how long this process has watched the claim without a break."""
        sight = self._sights.get(claim_of(attempt))
        return now - sight.first if sight else 0.0

    def silent_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """For how long it has watched the claim show no sign of life."""
        sight = self._sights.get(claim_of(attempt))
        return now - sight.signed_at if sight else 0.0

    def stopping_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """For how long it has watched the claim be asked to stop."""
        sight = self._sights.get(claim_of(attempt))
        if sight is None or sight.stopping_since is None:
            return 0.0
        return now - sight.stopping_since


def claim_of(attempt: RunningAttempt) -> Claim:
    """Return what names one claim of one attempt."""
    return (attempt.job_id, attempt.attempt, attempt.claim_id)
