"""Where metrics are sent besides `metrics.jsonl`: Weights & Biases, or nowhere.

A tracker never stops a run: its first failure is logged and ends the tracking, nothing more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

from app.training.config import TrainingConfig

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Receives what a run measures."""

    run_id: str | None
    """Names the tracked run; saved in checkpoints so that a resumed run continues its curves."""

    def start(self, config: TrainingConfig, run_id: str | None) -> None:
        """Begin a run, or continue the one of `run_id`."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one step."""

    def finish(self) -> None:
        """End the run."""


class NullTracker:
    """Sends nothing, and remembers a run id that another process may still want."""

    run_id: str | None = None

    def start(self, config: TrainingConfig, run_id: str | None) -> None:
        self.run_id = run_id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def finish(self) -> None:
        pass


class WandbTracker:
    """Weights & Biases, online, offline or disabled as the configuration or WANDB_MODE says."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self._run: Any = None

    def start(self, config: TrainingConfig, run_id: str | None) -> None:
        self.run_id = run_id
        try:
            import wandb

            self._run = wandb.init(
                project=config.wandb_project,
                entity=config.wandb_entity,
                name=config.wandb_run_name,
                mode=config.wandb_mode,
                # Passed each time, since wandb would keep the folder of the process's first run.
                dir=os.environ.get("WANDB_DIR") or os.getcwd(),
                config=config.to_dict(),
                id=run_id,
                resume="allow" if run_id else None,
            )
            self._run.define_metric("*", step_metric="step")
            self.run_id = self._run.id
        except Exception as error:
            self._give_up(error)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._run is None:
            return
        try:
            # The step is a metric, not wandb's own counter: that one refuses to go back after a
            # resume from an earlier checkpoint.
            self._run.log({"step": step, **metrics})
        except Exception as error:
            self._give_up(error)

    def finish(self) -> None:
        if self._run is None:
            return
        try:
            self._run.finish()
        except Exception as error:
            self._give_up(error)
        self._run = None

    def _give_up(self, error: Exception) -> None:
        self._run = None
        logger.warning(
            "Weights & Biases is off for the rest of this run (%s: %s); training goes on and "
            "metrics.jsonl has everything",
            type(error).__name__,
            error,
        )


def build_tracker(config: TrainingConfig) -> Tracker:
    """Return the tracker that a configuration asks for."""
    return WandbTracker() if config.wandb_project else NullTracker()
