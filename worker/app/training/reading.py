"""Which files this process may read as data: all, until `restrict_to` names folders.

A service checks the paths that its clients name when a job starts; a file may have become a link
to elsewhere by the time it is read. So all code that opens data asks this module each time. The
restriction holds for the process until it ends, its threads and forked loaders included.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from app.training import progress

_BLOCK_BYTES = 1 << 20


class PathNotAllowedError(ValueError):
    """The file is outside the folders that may be read from."""


_roots: tuple[Path, ...] | None = None


def restrict_to(roots: Iterable[str | Path]) -> None:
    """From now on data is read from these folders alone, whatever links say."""
    global _roots
    _roots = tuple(Path(root).resolve() for root in roots)


def permit(path: str | Path) -> None:
    """Let one more file be read, where reading is restricted."""
    global _roots
    if _roots is not None:
        _roots = (*_roots, Path(path).resolve())


def permitted(path: Path) -> Path:
    """`path` itself, if it may be read.

    Raises:
        PathNotAllowedError: The file is outside the folders that may be read from.
    """
    _real(path)
    return path


def open_permitted(path: Path) -> BinaryIO:
    """Open a file of data.

    The file is looked for again once it is open: what was opened is what may be read.

    Raises:
        PathNotAllowedError: The file is outside the folders that may be read from.
        OSError: The file cannot be opened.
    """
    _real(path)
    file = path.open("rb")
    try:
        if _roots is not None and not _is_opened(_real(path), file):
            raise PathNotAllowedError(f"{str(path)!r} was replaced while it was opened; try again")
    except BaseException:
        file.close()
        raise
    return file


def _is_opened(path: Path, file: BinaryIO) -> bool:
    return os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _real(path: Path) -> Path:
    if _roots is None:
        return path
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(root) for root in _roots):
        return real
    allowed = ", ".join(map(str, _roots)) or "none"
    raise PathNotAllowedError(
        f"{str(path)!r} leads to {str(real)!r}, which is not under a folder that this job may read "
        f"from; allowed are {allowed}; put the file itself there and start the job afresh"
    )


def sha256_of(file: BinaryIO) -> str:
    """Return the sha256 of an open file, lower-case hex; `progress` hears of each block."""
    digest = hashlib.sha256()
    with progress.reading_file(file.tell):
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            progress.advanced(len(block))
    return digest.hexdigest()
