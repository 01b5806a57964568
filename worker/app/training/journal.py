"""`metrics.jsonl` and `samples.jsonl`: one line of JSON for each step that has one, each step once.

A run that resumes cuts the file back to the step it resumes from, so a reader sees one history
whatever happened to the processes that wrote it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from app.training.checkpoint_file import write_atomically
from app.training.errors import TrainingError


class StepJournal:
    """Appends to one file; lines reach the system at once and the disk at `sync`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def open(self, resume_step: int) -> None:
        """Begin or go on after `resume_step`; lines of later steps are dropped."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line, resume_step + 1) <= resume_step]
            if kept != lines:
                write_atomically(self.path, "".join(f"{line}\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add one line. A value that is not finite becomes null, as JSON has no NaN or infinity."""
        assert self._file is not None, "open() comes first"
        written = {name: None if _is_not_finite(v) else v for name, v in values.items()}
        try:
            self._file.write(json.dumps({"step": step, **written}) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(
                f"{self.path} could not be written ({error.strerror}); what is measured must not "
                "be lost silently; free some space, and resume from the last checkpoint"
            ) from error

    def sync(self) -> None:
        """Make everything written so far durable."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Make the file durable and close it."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk has been reported by now
                self.sync()
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class NullJournal(StepJournal):
    """The journal of ranks from 1 on, and of samples where there are none: writes nothing."""

    def open(self, resume_step: int) -> None:
        pass

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        pass


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _step_of(line: str, otherwise: int) -> int:
    """Return the step a line is about; a line that was cut short counts as too late."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return otherwise
