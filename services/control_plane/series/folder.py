"""The folder of column files: one process uses it, and it never grows beyond its bound."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from service_runtime.logs import get_logger
from service_runtime.temporary_folder import TemporaryFolder

_log = get_logger("series")

_MOST_BYTES = 8 << 30
"""Of all files; those used least recently are deleted."""

_MOST_TEMPORARY_BYTES = 1 << 30
"""The same for a temporary folder, which may be in memory."""

_SUFFIX = ".columns"


class ColumnFolder:
    """Where the files are. It is opened at the first use.

    Args:
        path: the folder; None for a temporary one. Where another process uses it, or it cannot be
            written, a temporary one is used too.
    """

    def __init__(self, path: Path | None) -> None:
        self._wanted = path
        self._path: Path | None = None
        self._temporary: TemporaryFolder | None = None
        self._lock: IO[str] | None = None

    def file_of(self, job_id: str) -> Path | None:
        """Return the path of a job's file; None where no folder can be written."""
        path = self._opened()
        return path / f"{job_id}{_SUFFIX}" if path is not None else None

    def _opened(self) -> Path | None:
        if self._path is None:
            try:
                self._path = self._locked() or self._made()
            except OSError as error:
                _log.warning("histories are kept in memory alone", why=str(error))
        return self._path

    def _locked(self) -> Path | None:
        if self._wanted is None:
            return None
        try:
            self._wanted.mkdir(parents=True, exist_ok=True)
            self._lock = (self._wanted / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _log.warning("a temporary folder is used", instead_of=str(self._wanted), why=str(error))
            return None
        return self._wanted

    def _made(self) -> Path:
        self._temporary = TemporaryFolder("training-engine-columns-")
        return self._temporary.path()

    def job_ids(self) -> list[str]:
        """Return the jobs that have a file."""
        path = self._opened()
        return [each.stem for each in path.glob(f"*{_SUFFIX}")] if path is not None else []

    def delete(self, job_ids: Iterable[str]) -> None:
        """Delete the files of jobs."""
        for job_id in job_ids:
            if (path := self.file_of(job_id)) is not None:
                path.unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete the files that were used least recently, while there are too many bytes."""
        path = self._opened()
        found = []
        for file in path.glob(f"*{_SUFFIX}") if path is not None else ():
            with suppress(FileNotFoundError):
                state = file.stat()
                found.append((state.st_mtime, state.st_size, file))
        total = sum(size for _, size, _ in found)
        most = _MOST_BYTES if self._temporary is None else _MOST_TEMPORARY_BYTES
        for _, size, file in sorted(found):
            if total <= most:
                return
            file.unlink(missing_ok=True)
            total -= size

    def use(self, job_id: str) -> None:
        """Note that a job's file is in use."""
        path = self.file_of(job_id)
        with suppress(OSError):
            if path is not None:
                os.utime(path)

    def close(self) -> None:
        """Let go of the folder; a temporary one is deleted."""
        if self._temporary is not None:
            self._temporary.close()
        if self._lock is not None:
            self._lock.close()
