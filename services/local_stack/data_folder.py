"""The data folder of a stack, and the lock that keeps a second stack out of it.

The lock is an flock on an open file that every child inherits. It is therefore held as long as
any process of the stack lives: after a SIGKILL of `up` the next `up` waits until the last child
has ended, so two Redis servers never write to one append-only file. The locked file has a note in
JSON, with the process id of `up` and the address where it listens.
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
"""How long to wait for the children of a killed `up`. The kernel ends them with it, so a longer
wait would not help."""


def default_data_dir() -> Path:
    """Return `$XDG_DATA_HOME/training-engine`, or `~/.local/share/training-engine`.

    Raises:
        DataFolderError: The user has no home.
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
        """The folder with one log file for each service."""
        return self.path / "logs"

    @property
    def artifacts(self) -> Path:
        """The folder of checkpoints and uploaded datasets."""
        return self.path / "artifacts"

    @property
    def datasets(self) -> Path:
        """The folder for the user's own files, which jobs may name as datasets by their paths."""
        return self.path / "data"

    @property
    def server(self) -> Path:
        """The folder of the embedded Redis server, with its append-only file."""
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
            # "a+", not "w+", because opening must not empty the holder's note.
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
        """Write the note: this process holds the folder, and `facts`, such as the `url`.

        Raises:
            DataFolderError: It cannot be written, as where the disk is full.
        """
        note = json.dumps({"pid": os.getpid(), **facts}).encode()
        try:
            os.ftruncate(self.lock_fd, 0)
            os.write(self.lock_fd, note)  # unbuffered, since a close would try again and fail
        except OSError as error:
            raise DataFolderError(
                f"the data folder {self.path} cannot be written: {error.strerror}; free some space "
                "there, or give another folder with --data-dir"
            ) from error

    def _lock(self) -> None:
        """Take the lock; while the process of the note is alive, do not wait for it, but refuse."""
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
        """Return the process id of the note, if it has one, and ` (URL)` where it listens."""
        assert self._lock_file is not None
        self._lock_file.seek(0)
        try:
            note = json.loads(self._lock_file.read())
            url = note.get("url")
            return int(note["pid"]), f" ({url})" if url else ""
        except (ValueError, KeyError, TypeError, AttributeError):
            return None, ""  # the holder has not written its note yet


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and of another user
    return True
