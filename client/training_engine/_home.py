"""Paths of this machine that begin with `~`."""

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
