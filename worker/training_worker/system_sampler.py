"""Samples what a trainer's processes use, in a thread of the worker's parent.

The thread only reads: a driver of a GPU that does not answer holds up nothing. The parent delivers
the samples beside the lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from job_store.attempts import AttemptStore
from job_store.errors import JobStoreError
from job_store.records import FencingToken
from training_worker.process_tree import ProcessTree

logger = logging.getLogger(__name__)

SAMPLE_SECONDS = 5.0
_MOST_WAITING = 120
"""Samples that wait for a store that is away; older ones are dropped."""
_END_SECONDS = 1.0


class SystemSampler(threading.Thread):
    """Samples from `start` to `end`."""

    def __init__(self, pid: int, seconds: float = SAMPLE_SECONDS) -> None:
        super().__init__(name="system sampler", daemon=True)
        self._pid, self._seconds = pid, seconds
        self._waiting: deque[tuple[int, dict[str, float]]] = deque(maxlen=_MOST_WAITING)
        self._ended = threading.Event()

    def run(self) -> None:
        tree = ProcessTree(self._pid)
        while not self._ended.wait(self._seconds):
            values = tree.sample()
            if values.get("system/memory_bytes"):  # else the trainer has ended
                self._waiting.append((int(time.time() * 1000), values))

    def end(self) -> None:
        """Stop; a sample that is being taken is not waited for long."""
        self._ended.set()
        self.join(_END_SECONDS)

    def deliver(self, store: AttemptStore, token: FencingToken, seconds: float) -> None:
        """Append what was sampled; what the store does not take within this time waits."""
        until = time.monotonic() + seconds
        try:
            while self._waiting and time.monotonic() < until:
                store.append_system(token, *self._waiting[0])
                self._waiting.popleft()
        except JobStoreError as error:
            logger.debug("samples of job %s wait: %s", token.job_id, error)
