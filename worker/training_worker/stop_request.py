"""The request to stop a trainer, from a signal, a user or the end of its worker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from job_store.records import OutcomeKind

if TYPE_CHECKING:
    from app.training.trainer import Trainer


class StopRequest:
    """Whether, and why, the trainer is to save and return. Set from signals and other threads."""

    def __init__(self) -> None:
        self.outcome: OutcomeKind | None = None
        self._trainer: Trainer | None = None
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread's hold

    def request(self, outcome: OutcomeKind) -> None:
        """Stop at the next step boundary.

        The first reason is kept, except that a user's stop outranks a hand-back: the job would only
        be queued again to be stopped.
        """
        with self._lock:
            if self.outcome is None or outcome is OutcomeKind.STOPPED:
                self.outcome = outcome
            if self._trainer is not None:
                self._trainer.request_stop()

    def watch(self, trainer: Trainer) -> None:
        """Let `request` stop this trainer; pass an earlier request on at once."""
        with self._lock:
            self._trainer = trainer
            if self.outcome is not None:
                trainer.request_stop()
