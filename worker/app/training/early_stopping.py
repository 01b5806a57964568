"""Ends a run whose metric no longer improves."""

from __future__ import annotations

from typing import Any

from app.training.config import EarlyStoppingConfig


class EarlyStopping:
    """Counts the measurements in a row that did not improve a metric; smaller is better.

    Its state is part of a checkpoint, so that a resumed run ends where an undisturbed one does.
    """

    def __init__(self, config: EarlyStoppingConfig | None) -> None:
        self._config = config
        self._best: float | None = None
        self._best_step = 0
        self._without = 0
        """Measurements since the best one."""

    def observe(self, step: int, measured: float | None) -> None:
        """Take the metric's value at a step; None where it was not measured there."""
        if self._config is None or measured is None:
            return
        if self._best is None or measured < self._best - self._config.min_delta:
            self._best, self._best_step, self._without = measured, step, 0
        else:
            self._without += 1

    @property
    def metric(self) -> str | None:
        """The metric that decides; None without early stopping."""
        return self._config.metric if self._config else None

    @property
    def reason(self) -> str | None:
        """Why the run ends before `max_steps`; None while it goes on."""
        if self._config is None or self._without < self._config.patience:
            return None
        return (
            f"ended early: {self._config.metric} was {self._best:.6g} at step {self._best_step} "
            f"and did not improve in {self._without} measurements since"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its step, and the measurements since."""
        return {"best": self._best, "best_step": self._best_step, "without": self._without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        self._best, self._best_step = state["best"], state["best_step"]
        self._without = state["without"]
