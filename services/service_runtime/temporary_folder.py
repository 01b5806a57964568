"""A folder among the machine's temporary files that does not outlive its process for long.

A process that is killed cannot remove its folder. So it holds a lock on it, and the next process
that makes one with the same prefix removes those that nothing has locked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class TemporaryFolder:
    """A process's folder; inherited by its forks, which keep its lock as long as they live.

    Making one of these removes the folders with the same prefix that dead processes have left.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._folder: Path | None = None
        self._handle: int | None = None
        _remove_abandoned(Path(tempfile.gettempdir()), prefix)

    def path(self) -> Path:
        """Return the folder, which is made at the first use, and again if something removed it.

        Raises:
            OSError: None can be made.
        """
        # Cleaners of the machine take old ones, and a process that starts one not yet locked.
        while self._folder is None or not self._folder.is_dir():
            self.close()
            made = Path(tempfile.mkdtemp(prefix=self._prefix))
            if (handle := _lock(made)) is not None:
                self._folder, self._handle = made, handle
        return self._folder

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
        self._folder = self._handle = None


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


def _remove_abandoned(temporary: Path, prefix: str) -> None:
    for folder in temporary.glob(f"{prefix}*"):
        if (handle := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
