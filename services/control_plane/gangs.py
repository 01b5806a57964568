"""When the message of a job over several workers is sent: once so many of them have nothing to do.

Until then no worker hears of the job, so it keeps none from training others. Two such jobs at once
might each get a part of the same workers, so one is sent after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from job_store.queues import ResourceClass, resource_class, worker_classes
from job_store.records import QueuedAttempt, WorkerRecord, WorkerState

GATHERING_SECONDS = 15.0
"""In which the workers of the job that was sent last come together, or give it back."""


class GangGate:
    """Decides for one leading control plane; a new one begins without a memory.

    Args:
        launched: each job waits for workers that take no other.
    """

    def __init__(self, launched: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._launched, self._clock = launched, clock
        self._sent_at, self._sent = -float("inf"), ""

    def why_not(self, queued: QueuedAttempt, workers: Sequence[WorkerRecord]) -> str | None:
        """Return why a job waits, for its status; None where it may be sent now."""
        kind = resource_class(queued.device)
        own = [one for one in workers if one.only_job == queued.job_id]
        there = own if self._launched else [one for one in workers if not one.only_job]
        fitting = [one for one in there if kind in worker_classes(one.device)]
        free = sum(one.state is WorkerState.IDLE for one in fitting)
        if free < queued.nodes:
            unused = 0 if self._launched else len(own)
            return self._missing(queued.nodes, kind, len(fitting), free, unused)
        return None if self._launched else self._not_its_turn(queued.job_id)

    def _missing(
        self, nodes: int, kind: ResourceClass, fitting: int, free: int, unused: int
    ) -> str:
        which = "that a launcher starts for it" if self._launched else "at the same time"
        why = (
            f"waits for {nodes} workers {which}; {fitting} that fit it are live, and {free} of "
            "them have no job"
        )
        if unused:
            why += (
                f"; {unused} that a launcher started for it are not used, since the control plane "
                "runs without --launched-nodes"
            )
        elif fitting < nodes and not self._launched:
            on = "" if kind is ResourceClass.ANY else f" that train on {kind}"
            why += f"; start {nodes - fitting} more{on}, or stop it and start one with fewer nodes"
        return why

    def _not_its_turn(self, job_id: str) -> str | None:
        now = self._clock()
        if self._sent != job_id and now - self._sent_at < GATHERING_SECONDS:
            return "waits for the workers of another job over several to come together"
        self._sent, self._sent_at = job_id, now
        return None
