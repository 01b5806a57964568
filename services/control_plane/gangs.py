"""When the message of a job over several workers is sent: once so many of them have nothing to do.

Until then no worker hears of the job, so it keeps none from training others. Two such jobs at once
might each get a part of the same workers, so one is sent after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from job_store.queues import resource_class, worker_classes
from job_store.records import QueuedAttempt, WorkerRecord, WorkerState

GATHERING_SECONDS = 15.0
"""In which the workers of the job that was sent last come together, or give it back."""


class GangGate:
    """Decides for one leading control plane; a new one begins without a memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at, self._sent = -float("inf"), ""

    def why_not(self, queued: QueuedAttempt, workers: Iterable[WorkerRecord]) -> str | None:
        """Return why a job waits, for its status; None where it may be sent now."""
        kind = resource_class(queued.device)
        fitting = [one for one in workers if kind in worker_classes(one.device)]
        free = sum(one.state is WorkerState.IDLE for one in fitting)
        if free < queued.nodes:
            return (
                f"waits for {queued.nodes} workers without a job at the same time; {len(fitting)} "
                f"that fit it are live, and {free} of them have none"
            )
        now = self._clock()
        if self._sent != queued.job_id and now - self._sent_at < GATHERING_SECONDS:
            return "waits for the workers of another job over several to come together"
        self._sent, self._sent_at = queued.job_id, now
        return None
