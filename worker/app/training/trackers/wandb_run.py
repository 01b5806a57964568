"""Weights & Biases, online, offline or disabled as the configuration or WANDB_MODE says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from app.training.trackers.protocol import Line, TrackedRun
from app.training.trackers.requirements import require_package


class WandbRun:
    """Sends metrics to a run of Weights & Biases, which has the run's own id there."""

    name = "Weights & Biases"

    def __init__(self) -> None:
        self._run: Any = None

    def require(self, run: TrackedRun) -> None:
        require_package("wandb_project", run.config.wandb_project or "", "wandb", "wandb")

    def start(self, run: TrackedRun) -> None:
        import wandb

        config = run.config
        self._run = wandb.init(
            project=config.wandb_project,
            entity=config.wandb_entity,
            name=config.wandb_run_name,
            mode=config.wandb_mode,
            # Passed each time, since wandb would keep the folder of the process's first run.
            dir=os.environ.get("WANDB_DIR") or os.getcwd(),
            config=config.to_dict(),
            id=run.id,
            resume="allow",
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, lines: Sequence[Line]) -> None:
        for line in lines:
            # The step is a metric, not wandb's own counter: that one refuses to go back after a
            # resume from an earlier checkpoint.
            self._run.log({"step": line.step, **line.metrics})

    def flush(self) -> None:
        pass  # its own process writes what it was given

    def finish(self) -> None:
        self._run.finish()
