"""How long a call is retried after failures that may pass, and the delays between its tries."""

from __future__ import annotations

import random
import time

from training_engine.errors import DeadlineExceededError, TrainingEngineError

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0


class RetryDeadline:
    """Allows retries until no try has made progress for `seconds`; then the error is raised.

    Delays double from 0.1 s to 2 s, with jitter over their upper half, so that the clients of a
    restarted service do not come back all at once.

    Args:
        seconds: Longest time without progress.
        retry_timeouts: Whether a call that exceeds its deadline is retried too. Streams and `wait`
            do so; a single call ends with its deadline.
    """

    def __init__(self, seconds: float, *, retry_timeouts: bool = False) -> None:
        self._seconds = seconds
        self._retry_timeouts = retry_timeouts
        self.progressed()

    def progressed(self) -> None:
        """Note that something arrived: the time without progress and the delays start over."""
        self._delay = FIRST_DELAY_SECONDS
        self._failing_since: float | None = None

    def delay_after(self, error: TrainingEngineError) -> float:
        """Return the seconds to wait before the next try; raise `error` where no time is left."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._seconds - now
        is_retried_timeout = self._retry_timeouts and isinstance(error, DeadlineExceededError)
        if not (error.retryable or is_retried_timeout) or left <= 0:
            raise error
        delay = self._delay * random.uniform(0.5, 1.0)
        self._delay = min(LONGEST_DELAY_SECONDS, 2 * self._delay)
        return min(max(delay, error.retry_after or 0.0), left)
