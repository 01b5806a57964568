"""Paths that begin with `~`, and paths of data."""

from __future__ import annotations

import os
from pathlib import Path

from training_engine.errors import InvalidArgumentError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path of this machine with a leading `~` replaced.

    Raises:
        InvalidArgumentError: This user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidArgumentError(
            f"{os.fspath(path)} begins with ~, and this user has no home folder; write the path "
            "out, or set HOME"
        ) from None


def data_path(name: str, path: str | None) -> str | None:
    """Return the path of data as the service takes it; a leading `~` means the caller's home.

    Raises:
        InvalidArgumentError: It is blank; `name` is the argument that it was given as.
    """
    if not isinstance(path, str):
        return path
    if not path.strip():
        raise InvalidArgumentError(
            f"{name} is {path!r}; give a path or dataset://ID, or None for what the configuration "
            "names"
        )
    return str(expanded(path)) if path.startswith("~") else path
