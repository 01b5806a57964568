"""torch.compile with its cache in a folder of ours, for users with and without a home."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Final

import torch

from app.training.data.cache import machine_folder
from app.training.home import in_home

_LOCATION: Final = "TORCHINDUCTOR_CACHE_DIR"


def compiled(model: torch.nn.Module) -> Any:
    """Return the model to be compiled at its first call.

    torch keeps what it compiles among the temporary files. Those of a worker's trainer end with it,
    so each attempt would compile again. `TORCHINDUCTOR_CACHE_DIR` wins where it is set.
    """
    if _LOCATION not in os.environ and (folder := _own_folder()) is not None:
        os.environ[_LOCATION] = str(folder)
    return torch.compile(model)


def _own_folder() -> Path | None:
    """Return a writable folder of this user's alone, for torch runs what it finds there."""
    for parent in (in_home("~/.cache/training_engine"), machine_folder()):
        with contextlib.suppress(OSError):
            if parent is not None and _is_own(folder := parent / "compiled"):
                return folder
    return None


def _is_own(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return all(map(_is_closed, (folder, folder.parent))) and os.access(folder, os.W_OK)


def _is_closed(folder: Path) -> bool:
    """Whether no other user can change what is in the folder."""
    found = folder.lstat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others
