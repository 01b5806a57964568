"""A worker's folder for temporary files, which goes with it, however it or a trainer ends.

torch's elastic agent and Python's loader processes make folders among the machine's temporary
files, and a trainer that is killed cannot remove them. So trainers get a folder of their own inside
that of their worker. The worker holds a lock on its folder, and one that starts removes those of
dead ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.training.data.cache import machine_folder

_PREFIX = "te-worker-"  # short: Python's sockets in it have names of at most 107 characters


class TemporaryFiles:
    """The worker's folder; inherited by its forks, which keep its lock as long as they live."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        _remove_abandoned(Path(tempfile.gettempdir()))

    @contextlib.contextmanager
    def for_trainer(self) -> Iterator[Path | None]:
        """Yield a new folder, and remove it afterwards with all that a trainer has left in it.

        None where none can be made, as on a full disk: the trainer may need no temporary files.
        """
        try:
            folder = Path(tempfile.mkdtemp(dir=self._own_folder(), prefix=""))
        except OSError:
            yield None
            return
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the worker's folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _own_folder(self) -> Path:
        # Cleaners of the machine take old ones, and a worker that starts one not yet locked.
        while self._folder is None or not self._folder.is_dir():
            made = Path(tempfile.mkdtemp(prefix=_PREFIX))
            if _lock(made) is not None:
                self._folder = made
        return self._folder


def use_folder(folder: Path | None) -> None:
    """Let this process, a trainer, put its temporary files there."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        machine_folder()  # remembered, for what is to outlive the trainer
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def _lock(folder: Path) -> int | None:
    """Lock the folder as long as this process and its forks live; None where another holds it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # removed meanwhile, or of another user
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_abandoned(temporary: Path) -> None:
    for folder in temporary.glob(f"{_PREFIX}*"):
        if (handle := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
