"""The trackers of a run, chosen by its configuration."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from app.training.config import TrainingConfig
from app.training.run_folder import TRACKERS_FOLDER
from app.training.trackers.background import BackgroundTracker
from app.training.trackers.csv_file import CsvFile
from app.training.trackers.event_files import EventFiles
from app.training.trackers.mlflow_run import MlflowRun
from app.training.trackers.protocol import Line, TrackedRun, Tracker
from app.training.trackers.wandb_run import WandbRun

_END_SECONDS = 15.0
"""How long the end of a run waits for its trackers: less than a worker's grace."""
_KINDS: dict[str, Callable[[], Tracker]] = {
    "csv": CsvFile,
    "tensorboard": EventFiles,
    "mlflow": MlflowRun,
}


class Trackers:
    """Passes each line of a run to the trackers that its configuration asks for.

    Args:
        active: False in processes that report nothing.
    """

    def __init__(self, config: TrainingConfig, *, active: bool = True) -> None:
        self._config = config
        self._chosen = chosen_trackers(config) if active else []
        self._running = list[BackgroundTracker]()
        self.folder = Path(config.checkpoint_dir, TRACKERS_FOLDER)
        self.run_id: str | None = None
        """Names the run; saved in checkpoints, so that a resumed run continues its curves."""

    def open(self, step: int) -> None:
        """Begin to track after a step.

        Raises:
            ConfigError: A tracker cannot work: a package or a setting is missing.
            TrainingError: Its folder cannot be written.
        """
        if not self._chosen:
            return
        self.run_id = self.run_id or secrets.token_hex(4)
        run = TrackedRun(self._config, self.run_id, self.folder, step)
        for tracker in self._chosen:
            tracker.require(run)
        self._running = [BackgroundTracker(tracker, run) for tracker in self._chosen]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand the line of a step to all trackers; never waits."""
        for tracker in self._running:
            tracker.log(Line(step, time.time(), dict(metrics)))

    def sync(self) -> None:
        """Wait a moment until the trackers have made durable what they got."""
        for tracker in self._running:
            tracker.sync()

    def close(self) -> None:
        """End the tracked run."""
        running, self._running = self._running, []
        for tracker in running:
            tracker.end()
        deadline = time.monotonic() + _END_SECONDS
        for tracker in running:
            tracker.join(deadline)


def chosen_trackers(config: TrainingConfig) -> list[Tracker]:
    """Return new trackers for what a valid configuration asks for."""
    chosen = [_KINDS[name]() for name in config.trackers]
    if config.wandb_project and config.wandb_mode != "disabled":
        chosen.append(WandbRun())
    return chosen
