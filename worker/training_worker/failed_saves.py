"""What an attempt does when a save finds no room, or no store: it trains on, the last save waits.

Either fails a save, not the run. The next save is the next try; what was saved before is
untouched. Only the last save cannot be left out: the finished run waits in memory until there is
room or the store is back. It tries again with growing pauses, and gives up after
`patience_seconds`.
"""

from __future__ import annotations

import logging
import time

from job_store.records import Phase
from service_runtime.backoff import pause_seconds
from training_worker.board import Board
from training_worker.failures import absence_behind, is_full_disk

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class FailedSaves:
    """Decides about failed saves; the parent process shows them in the job's status."""

    def __init__(self, board: Board, patience_seconds: float) -> None:
        self._board = board
        self._patience = patience_seconds
        self._gives_up_at: float | None = None
        self._failures = 0

    def tolerates(self, step: int, error: Exception, *, last: bool) -> bool:
        """Whether the run goes on despite a failed save; pauses before the last one's next try."""
        absence = absence_behind(error)
        if absence is None and not is_full_disk(error):
            return False
        if self._board.failed_save is None:
            self._board.show_failed_save(step, str(absence or ""))
        if not last:
            logger.warning("%s; training goes on, and the next save is the next try", error)
            return True
        return self._wait(error)

    def saved(self) -> None:
        """Note that a save has succeeded: there is room, and the store is there."""
        self._board.show_failed_save(None)
        self._gives_up_at, self._failures = None, 0

    def _wait(self, error: Exception) -> bool:
        now = time.monotonic()
        if self._gives_up_at is None:
            self._gives_up_at = now + self._patience
            logger.warning("%s; the last save is tried for %g s more", error, self._patience)
        if now >= self._gives_up_at:
            return False
        status = self._board.read()
        self._board.write(status.step, Phase.SAVING, status.tokens_seen)  # no step comes meanwhile
        self._failures += 1
        pause = pause_seconds(self._failures, _FIRST_PAUSE, _LONGEST_PAUSE)
        time.sleep(min(pause, self._gives_up_at - now))
        return True
