"""The folder of a run: one trainer at a time, its configuration, and what earlier runs left."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from app.training.checkpoint import CheckpointManager
from app.training.checkpoint_file import write_atomically
from app.training.config import TrainingConfig
from app.training.errors import TrainingError
from app.training.writable import unwritable_text

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
SAMPLES_FILE = "samples.jsonl"
CONFIG_FILE = "config.yaml"
TRACKERS_FOLDER = "trackers"
"""Files of trackers."""


_held: set[Path] = set()
"""Folders that trainers of this process hold."""


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder for one trainer; two would delete each other's checkpoints.

    The lock ends with its process, however that ends.

    Raises:
        TrainingError: It is taken.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        if place in _held:
            raise _taken(folder)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise TrainingError(unwritable_text(folder, error.strerror or str(error))) from None
    with file:
        _lock(file, folder)
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)


def _lock(file: TextIO, folder: Path) -> None:
    try:
        # A record lock, not flock: a loader's forked process that outlives a killed trainer for
        # a few seconds must not keep the folder from its successor.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise _taken(folder) from None
    except OSError as error:  # a file system without locks
        logger.debug("%s cannot be locked: %s", folder, error)


def _taken(folder: Path) -> TrainingError:
    return TrainingError(
        f"`checkpoint_dir` is {str(folder)!r}, where another run is training; each run needs its "
        "own; choose another folder or stop the other run"
    )


def prepare(folder: Path, manager: CheckpointManager, config: TrainingConfig, step: int) -> None:
    """Write config.yaml, and move files aside that do not belong to a run at `step`.

    A new run finds an older run's files, a run that went back finds checkpoints of a future that
    will not be: both are kept, in a folder of their own.
    """
    for leftover in folder.glob(".*.tmp"):  # of a save that was killed
        leftover.unlink(missing_ok=True)
    aside = manager.set_aside(step if step else -1, "superseded" if step else "previous")
    if aside is not None:
        what = f"checkpoints beyond step {step}" if step else "the checkpoints of an earlier run"
        logger.warning("%s were moved to %s", what, aside)
        if not step:
            for name in (METRICS_FILE, SAMPLES_FILE, CONFIG_FILE, TRACKERS_FOLDER):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(folder / name, aside / name)
    write_atomically(folder / CONFIG_FILE, config.to_yaml())
