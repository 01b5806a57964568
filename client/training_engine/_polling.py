"""How `wait` spaces its questions, for both engines."""

from __future__ import annotations

import time

from training_engine._retry import RetryDeadline
from training_engine.errors import DeadlineExceededError, TrainingEngineError

FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0


class Polling:
    """Delays that grow from 0.05 s to 1 s, an optional deadline, and retries during an outage."""

    def __init__(self, waited_for: str, timeout: float | None, retry_seconds: float) -> None:
        self._waited_for = waited_for
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._delay = FIRST_POLL_SECONDS
        self._retries = RetryDeadline(retry_seconds, retry_timeouts=True)

    def delay_after_answer(self, status: str) -> float:
        """Return the seconds to wait before asking again."""
        self._retries.progressed()
        delay = self._delay
        self._delay = min(LONGEST_POLL_SECONDS, delay * 1.5)
        return self._within_deadline(delay, f"{self._waited_for} is still {status}")

    def delay_after_failure(self, error: TrainingEngineError) -> float:
        """Return the seconds to wait after an outage; raise where it lasts too long."""
        return self._within_deadline(self._retries.delay_after(error), error.message)

    def _within_deadline(self, delay: float, what: str) -> float:
        if self._deadline is None:
            return delay
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"{what} after {self._timeout:g} s of waiting")
        return min(delay, left)
