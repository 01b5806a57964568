"""Paths that begin with `~`, also for a user id without a home, as containers have them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with a leading `~` replaced.

    Raises:
        ValueError: That means no folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{os.fspath(path)!r} begins with ~, and user {os.getuid()} has no home folder; write "
            "the path out, or set HOME"
        ) from None


def in_home(path: str) -> Path | None:
    """Return a default place that begins with `~`; None for a user without a home."""
    try:
        return expanded(path)
    except ValueError:
        return None
