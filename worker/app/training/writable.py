"""Whether the folder of a run can be written; asked before torch is imported."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def unwritable(folder: Path) -> str | None:
    """Return why the folder cannot be made or written, as far as a look tells; else None."""
    there = folder
    while not os.path.exists(there) and there != there.parent:  # False as well where it is hidden
        there = there.parent
    if not os.path.isdir(there):
        return unwritable_text(folder, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        return unwritable_text(folder, f"no permission in {there}, or its disk is read-only")
    return None


def unwritable_text(folder: Path, reason: str) -> str:
    """Return the error for a folder of checkpoints that cannot be written."""
    return (
        f"`checkpoint_dir` is {str(folder)!r}, which cannot be written ({reason}); "
        "choose a folder that this user may write to"
    )
