"""Watches attempts: which renew no lease, which show no sign of life, which do not stop.

Every duration is what this process has seen itself, by its own monotonic clock. So an outage of
Redis, or of this process, declares no attempt lost: watching begins again after it. Clocks that can
be set, those of Redis and of the workers, are never used.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from job_store.reconcile import RunningAttempt
from job_store.records import JobStatus

Claim = tuple[str, int, str]
"""Job, attempt and claim id."""

K = TypeVar("K", bound=Hashable)


class FirstSeen(Generic[K]):
    """Remembers since when each key has been present in every observation."""

    def __init__(self) -> None:
        self._since: dict[K, float] = {}

    def observe(self, keys: Iterable[K], now: float) -> None:
        """Note the keys that are present at `now` (monotonic seconds), and forget all others."""
        self._since = {key: self._since.get(key, now) for key in keys}

    def seconds(self, key: K, now: float) -> float:
        """Return for how many seconds the key has been present; 0 where it is not."""
        return now - self._since.get(key, now)

    def forget(self) -> None:
        """Forget every key."""
        self._since.clear()


@dataclass
class _Observation:
    """What a claim showed last, and since when; times are monotonic seconds."""

    lease_count: int
    lease_counted_at: float
    """When `lease_count` changed last."""
    sign_of_life: str
    sign_seen_at: float
    """When `sign_of_life` changed last."""
    first_seen: float
    """When this process began to watch the claim."""
    stopping_since: float | None = None


class AttemptWatch:
    """Remembers for how long each attempt has shown no change."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds
        self._observations: dict[Claim, _Observation] = {}
        self._observed_at: float | None = None

    def forget(self) -> None:
        """Forget all: after an outage, or after another process led."""
        self._observations.clear()
        self._observed_at = None

    def observe(self, attempts: Sequence[RunningAttempt], now: float) -> list[RunningAttempt]:
        """Note the attempts at `now` (monotonic seconds); return those whose lease ran out."""
        if self._observed_at is not None and now - self._observed_at > self._lease / 2:
            # This process was suspended or starved, so it has not watched. The workers of this
            # machine may not have run either.
            self.forget()
        self._observed_at = now
        observations = {claim_of(attempt): self._observation(attempt, now) for attempt in attempts}
        self._observations = observations
        return [
            attempt
            for attempt in attempts
            if now - observations[claim_of(attempt)].lease_counted_at >= self._lease
        ]

    def _observation(self, attempt: RunningAttempt, now: float) -> _Observation:
        count, sign = attempt.lease_count, attempt.sign_of_life
        last = self._observations.get(claim_of(attempt)) or _Observation(count, now, sign, now, now)
        if last.lease_count != count:
            last.lease_count, last.lease_counted_at = count, now
        if last.sign_of_life != sign:
            last.sign_of_life, last.sign_seen_at = sign, now
        if attempt.status is JobStatus.STOPPING and last.stopping_since is None:
            last.stopping_since = now
        return last

    def watched_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """Return for how many seconds this process has watched the claim without a break."""
        last = self._observations.get(claim_of(attempt))
        return now - last.first_seen if last else 0.0

    def silent_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """Return for how many seconds the claim has shown no new sign of life."""
        last = self._observations.get(claim_of(attempt))
        return now - last.sign_seen_at if last else 0.0

    def stopping_seconds(self, attempt: RunningAttempt, now: float) -> float:
        """Return for how many seconds this process has seen the claim asked to stop."""
        last = self._observations.get(claim_of(attempt))
        if last is None or last.stopping_since is None:
            return 0.0
        return now - last.stopping_since


def claim_of(attempt: RunningAttempt) -> Claim:
    """Return the key of one claim of one attempt."""
    return (attempt.job_id, attempt.attempt, attempt.claim_id)
