"""How long the steps of a trainer last: one that sleeps costs no core, and is not done too soon.

A test that disturbs a run needs it to last on any machine; small steps with pauses do, where many
costly steps would take the cores from the other tests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path


class Pace:
    """How long each step of the trainers is made; 0 until it is set."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "pace"
        self.set(0)

    def set(self, seconds: float) -> None:
        """From now on a step lasts so much longer."""
        self._file.write_text(str(seconds))

    def environment(self) -> dict[str, str]:
        """What a worker, or the stack that starts it, needs to keep the pace."""
        path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "TRAINING_ENGINE_CALLBACKS": "paced:Paced",
            "PYTHONPATH": os.pathsep.join(path),
            "PACE_FILE": str(self._file),
        }


class Paced:
    """The callback in the trainer."""

    def __init__(self, trainer: object) -> None:
        self._file = Path(os.environ["PACE_FILE"])

    def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sleep."""
        time.sleep(float(self._file.read_text() or 0))
