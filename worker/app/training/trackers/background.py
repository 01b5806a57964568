"""The thread of a tracker: what is slow or hangs there delays no step."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from app.training.trackers.protocol import Line, TrackedRun, Tracker

logger = logging.getLogger(__name__)

_WAITING_LINES = 2000
"""Lines that wait for a slow tracker at most; what comes on top is dropped."""
_LINES_AT_ONCE = 15
"""Few enough for 1,000 values, which MLflow takes in one request."""
_SYNC_SECONDS = 5.0


class BackgroundTracker:
    """Runs a tracker in a thread; its first failure is logged and ends the tracking."""

    def __init__(
        self,
        tracker: Tracker,
        run: TrackedRun,
        *,
        waiting_lines: int = _WAITING_LINES,
        sync_seconds: float = _SYNC_SECONDS,
    ) -> None:
        self._tracker, self._run = tracker, run
        self._most_waiting, self._sync_seconds = waiting_lines, sync_seconds
        self._changed = threading.Condition()
        self._waiting = deque[Line]()
        self._given = self._durable = self._dropped = 0
        """Lines taken from the run, those of them that are durable, and those not taken."""
        self._wants_flush = self._ending = self._failed = self._is_late = False
        # A daemon: a process ends although a tracker hangs.
        self._thread = threading.Thread(
            target=self._work, name=f"tracker-{tracker.name}", daemon=True
        )
        self._thread.start()

    def log(self, line: Line) -> None:
        """Hand a line to the thread, or drop it where too many wait."""
        with self._changed:
            if self._failed:
                return
            if len(self._waiting) < self._most_waiting:
                self._waiting.append(line)
                self._given += 1
                self._changed.notify_all()
                return
            self._dropped += 1
        if self._dropped == 1:
            self._warn(f"is slower than the run, and lacks step {line.step} and perhaps others")

    def sync(self) -> None:
        """Wait until what was logged is durable; once it takes too long, never wait again."""
        if self._is_late:
            return
        with self._changed:
            given, self._wants_flush = self._given, True
            self._changed.notify_all()
            is_over = self._changed.wait_for(
                lambda: self._failed or self._durable >= given, self._sync_seconds
            )
        self._is_late = not is_over

    def end(self) -> None:
        """Ask the thread to end the tracked run once it has sent what waits."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the end until a time of `time.monotonic`; say what was not sent."""
        self._thread.join(max(deadline - time.monotonic(), 0))
        if self._thread.is_alive():
            self._dropped += len(self._waiting)
            self._warn("does not end and is left alone")
        if self._dropped:
            self._warn(f"lacks {self._dropped} of this run's lines")

    def _work(self) -> None:
        try:
            self._tracker.start(self._run)
            while self._pass_on():
                pass
            self._tracker.finish()
        except Exception as error:
            self._warn(f"is off for the rest of this run ({type(error).__name__}: {error})")
            with self._changed:
                self._failed = True
                self._changed.notify_all()

    def _pass_on(self) -> bool:
        """Log the lines that wait, or make them durable; return False at the end of the run."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._wants_flush or self._ending)
            lines = [self._waiting[n] for n in range(min(len(self._waiting), _LINES_AT_ONCE))]
            given, wants_flush = self._given, self._wants_flush
            self._wants_flush &= bool(lines)
        if lines:
            self._tracker.log(lines)
            with self._changed:
                for _ in lines:
                    self._waiting.popleft()
        elif wants_flush:
            self._tracker.flush()
            with self._changed:
                self._durable = given
                self._changed.notify_all()
        return bool(lines) or wants_flush or not self._ending

    def _warn(self, what: str) -> None:
        logger.warning(
            "%s %s; training goes on and metrics.jsonl has everything", self._tracker.name, what
        )
