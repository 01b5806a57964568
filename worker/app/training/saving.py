"""Asynchronous saves of a run: announced in order; old checkpoints go once the new one is safe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from app.training.async_save import AsyncSaver
from app.training.callbacks import CallbackList
from app.training.checkpoint import CheckpointInfo, CheckpointManager
from app.training.errors import NO_CHECKPOINT, CheckpointError

logger = logging.getLogger(__name__)


class RunSaver:
    """Saves a run's checkpoints beside its training.

    Args:
        before_rename: called before a checkpoint gets its name; makes the metrics journal durable.
        best: metric and value of the best checkpoint so far, in this folder or another.
        saved_step: step of the newest complete checkpoint when the run begins.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        before_rename: Callable[[], None],
        callbacks: CallbackList,
        best: tuple[str, float] | None,
        saved_step: int | None = NO_CHECKPOINT,
    ) -> None:
        self._manager = manager
        self._saver = AsyncSaver(manager, before_rename)
        self._on_checkpoint = callbacks.bind("on_checkpoint")
        self._ignores_failure = callbacks.bind_any("on_save_failed")
        manager.on_rotate = callbacks.bind("on_rotate")
        self._best = best
        self.best = best
        """Metric and value of the best checkpoint, the save in progress included."""
        self.last_step = -1
        """Step of the newest save, perhaps still in progress."""
        self.saved_step = saved_step
        """Step of the newest complete checkpoint; NO_CHECKPOINT before the first, None: unknown."""

    def save(self, state: Mapping[str, Any], metric: tuple[str, float] | None) -> None:
        """Take a copy of `state` and write it in the background, after the save in progress."""
        self.finish()
        self._saver.submit(state, metric)
        self.last_step = int(state["step"])

    @property
    def write_seconds(self) -> float | None:
        """How long the newest write took, in the background; None before the first."""
        return self._saver.write_seconds

    def update_best(self, metric: tuple[str, float] | None) -> tuple[str, float] | None:
        """Return the best metric so far, including `metric` of the checkpoint saved next."""
        if metric is None:
            return self.best
        if self.best is None or self.best[0] != metric[0] or metric[1] <= self.best[1]:
            self.best = metric
        return self.best

    def poll(self) -> None:
        """Announce a save that has become complete; raise the error of one that failed."""
        self._collect(self._saver.poll)

    def finish(self) -> None:
        """Wait for the save in progress and announce it."""
        self._collect(self._saver.wait)

    def complete(self) -> None:
        """Finish the run's last save; write it again while a callback ignores that it failed."""
        while not self._collect(self._saver.wait, last=True):
            self._saver.submit_again()

    def close(self) -> None:
        """Wait for the save in progress; a failure is only logged, as the run is ending anyway."""
        try:
            self.finish()
        except Exception as error:
            logger.warning("while the run was ending: %s", error)

    def _collect(self, result: Callable[[], CheckpointInfo | None], *, last: bool = False) -> bool:
        """Announce the save of `result`; return False if it failed and a callback ignores that."""
        try:
            info = result()
        except CheckpointError as error:
            if not self._ignores_failure(self.last_step, error, last):
                raise
            self.best = self._best
            return False
        self._announce(info)
        return True

    def _announce(self, info: CheckpointInfo | None) -> None:
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
    """The saver of ranks from 1 on: they help to gather the state, and rank 0 writes it."""

    def save(self, state: Mapping[str, Any], metric: tuple[str, float] | None) -> None:
        """Remember the step; only rank 0 knows whether its save succeeds."""
        self.last_step = int(state["step"])
        self.saved_step = None
