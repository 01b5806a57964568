"""The data folder of a stack, and the lock that keeps a second stack out of it.

The lock is an flock on an open file that every child inherits. It is therefore held as long as
any process of the stack lives: after a SIGKILL of `up` the next one waits until the last child
is gone, so two servers never append to one log.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO

from local_stack.errors import DataFolderError

LEFTOVER_PATIENCE_SECONDS = 10.0
"""How long to wait for the children of a killed stack; the kernel kills them at once."""


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/training-engine`, or `~/.local/share/training-engine`.

    Raises:
        DataFolderError: For a user without a home.
    """
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        return Path(base).expanduser() / "training-engine"
    except RuntimeError:
        raise DataFolderError(
            f"user {os.getuid()} has no home folder for the jobs' data; name a folder with "
            "--data-dir"
        ) from None


class DataFolder:
    """A locked data folder. Use as a context manager.

    Raises DataFolderError where the folder cannot be written or another stack holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock_file: IO[str] | None = None

    @property
    def logs(self) -> Path:
        """One log file for each service."""
        return self.path / "logs"

    @property
    def artifacts(self) -> Path:
        """Checkpoints and datasets."""
        return self.path / "artifacts"

    @property
    def datasets(self) -> Path:
        """A folder for the user's own texts; jobs may name files in it."""
        return self.path / "data"

    @property
    def server(self) -> Path:
        """The embedded server's append-only file."""
        return self.path / "redis"

    @property
    def lock_fd(self) -> int:
        """The descriptor that children inherit."""
        assert self._lock_file is not None, "the folder is not locked"
        return self._lock_file.fileno()

    def __enter__(self) -> DataFolder:
        try:
            for folder in (self.path, self.logs, self.artifacts, self.datasets, self.server):
                folder.mkdir(parents=True, exist_ok=True)
            # Other users may read neither the checkpoints nor the server's password.
            self.path.chmod(0o700)
            # O_APPEND: opening must not empty the holder's note.
            self._lock_file = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise DataFolderError(
                f"the data folder {self.path} cannot be used: {error.strerror}: {error.filename}; "
                "give a folder that you may write with --data-dir"
            ) from error
        try:
            self._lock()
        except BaseException:
            self._lock_file.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._lock_file is not None
        self._lock_file.close()

    def describe_holder(self, **facts: object) -> None:
        """Write who holds the folder, and where it listens, for the next one who asks."""
        assert self._lock_file is not None
        self._lock_file.seek(0)
        self._lock_file.truncate()
        json.dump({"pid": os.getpid(), **facts}, self._lock_file)
        self._lock_file.flush()

    def _lock(self) -> None:
        deadline = time.monotonic() + LEFTOVER_PATIENCE_SECONDS
        while not self._try_lock():
            pid, where = self._holder()
            if pid is not None and _is_alive(pid):
                raise DataFolderError(
                    f"the data folder {self.path} is held by the stack of process {pid}{where}; "
                    "stop that one, or give this one another folder with --data-dir"
                )
            if time.monotonic() > deadline:
                raise DataFolderError(
                    f"the data folder {self.path} is still held by a service of a stack that was "
                    "killed; look for it with `fuser` on its file named lock, and end it"
                )
            time.sleep(0.05)
        self.describe_holder()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> tuple[int | None, str]:
        assert self._lock_file is not None
        self._lock_file.seek(0)
        try:
            note = json.loads(self._lock_file.read())
            url = note.get("url")
            return int(note["pid"]), f" ({url})" if url else ""
        except (ValueError, KeyError, TypeError, AttributeError):
            return None, ""  # it has the lock, but has not written its note yet


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
