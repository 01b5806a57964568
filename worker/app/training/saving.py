"""The trainer's saves: asynchronous, announced in order, rotated after the new one is safe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from app.training.async_save import AsyncSaver
from app.training.callbacks import CallbackList
from app.training.checkpoint import CheckpointInfo, CheckpointManager
from app.training.errors import CheckpointError

logger = logging.getLogger(__name__)


class RunSaver:
    """Saves a run's checkpoints beside its training.

    Args:
        before_rename: makes durable what must be no later than a checkpoint.
        best: metric and value of the best checkpoint so far, wherever it lies.
        saved_step: of the newest complete checkpoint when the run begins.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        before_rename: Callable[[], None],
        callbacks: CallbackList,
        best: tuple[str, float] | None,
        saved_step: int | None = -1,
    ) -> None:
        self._manager = manager
        self._saver = AsyncSaver(manager, before_rename)
        self._on_checkpoint = callbacks.bind("on_checkpoint")
        self._is_excused = callbacks.ask("on_save_failed")
        manager.on_rotate = callbacks.bind("on_rotate")
        self._best = best
        self.best = best
        """Including the save under way."""
        self.last_step = -1
        """Step of the newest save, perhaps still under way."""
        self.saved_step = saved_step
        """Step of the newest complete checkpoint; -1 before the first, None where not known."""

    def save(self, state: Mapping[str, Any], metric: tuple[str, float] | None) -> None:
        """Take a copy of `state` and write it in the background, after the save under way."""
        self.finish()
        self._saver.submit(state, metric)
        self.last_step = int(state["step"])

    @property
    def write_seconds(self) -> float | None:
        """How long the newest write took, in the background; None before the first."""
        return self._saver.write_seconds

    def consider(self, metric: tuple[str, float] | None) -> tuple[str, float] | None:
        """Return the best metric if a checkpoint with `metric` is saved now."""
        if metric is None:
            return self.best
        if self.best is None or self.best[0] != metric[0] or metric[1] <= self.best[1]:
            self.best = metric
        return self.best

    def poll(self) -> None:
        """Announce a save that has become complete; raise the error of one that failed."""
        self._settle(self._saver.poll)

    def finish(self) -> None:
        """Wait for the save under way and announce it."""
        self._settle(self._saver.wait)

    def complete(self) -> None:
        """Like `finish`, of the run's last save: it is written again while a listener bids so."""
        while not self._settle(self._saver.wait, last=True):
            self._saver.submit_again()

    def abandon(self) -> None:
        """Let the save under way end when the run has failed; its own failure is only logged."""
        try:
            self.finish()
        except Exception as error:
            logger.warning("while the run was ending: %s", error)

    def _settle(self, result: Callable[[], CheckpointInfo | None], *, last: bool = False) -> bool:
        """Return False for a save whose failure a listener took on itself."""
        try:
            info = result()
        except CheckpointError as error:
            if not self._is_excused(self.last_step, error, last):
                raise
            self.best = self._best
            return False
        self._take(info)
        return True

    def _take(self, info: CheckpointInfo | None) -> None:
        if info is None:
            return
        self.saved_step = info.step
        if info.metric is not None and info.metric_value is not None:
            before, value = self._best, (info.metric, info.metric_value)
            if before is None or before[0] != value[0] or value[1] <= before[1]:
                self._best = value
                info = replace(info, is_best=True)
        self._on_checkpoint(info)
        self._manager._rotate_checkpoints(keep=[info.path])


class FollowerSaver(RunSaver):
    """Of a process that took part in gathering the state and leaves the writing to rank 0."""

    def save(self, state: Mapping[str, Any], metric: tuple[str, float] | None) -> None:
        """Remember only that this step is saved; whether that succeeds, rank 0 knows."""
        self.last_step = int(state["step"])
        self.saved_step = None
