"""What a tracker is, and the run that it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from app.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run that begins, or goes on."""

    config: TrainingConfig
    id: str
    """Stays the same when the run resumes, so that it continues its curves."""
    folder: Path
    """For files of trackers; it outlives the process."""
    step: int
    """What was tracked of later steps is void: they come again."""


class Line(NamedTuple):
    """The metrics of one step."""

    step: int
    time: float
    """Unix time in seconds."""
    metrics: Mapping[str, float]


class Tracker(Protocol):
    """Receives what a run measures. `require` is called first, all else in the tracker's thread."""

    name: str
    """As people know it."""

    def require(self, run: TrackedRun) -> None:
        """Look whether the tracker can work; quick, and without a network.

        Raises:
            ConfigError: A package or a setting is missing.
            TrainingError: A folder cannot be written.
        """

    def start(self, run: TrackedRun) -> None:
        """Begin the run, or continue it after its step."""

    def log(self, lines: Sequence[Line]) -> None:
        """Record lines, in the order of their steps."""

    def flush(self) -> None:
        """Make durable what was logged, as far as the tracker can."""

    def finish(self) -> None:
        """End the run; it may go on later."""
