"""Folders that the `datasets` library wrote: which Arrow files in them are its data.

`Dataset.save_to_disk` writes `state.json` beside its shards and names them there. Its cache holds
the results of transformations as `cache-*.arrow`. Standard library only, see `survey`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.training.data.errors import DataError
from app.training.reading import open_permitted

_STATE = "state.json"
_LONGEST_STATE = 16 << 20


def foreign_arrow_file(path: Path) -> str | None:
    """Why an Arrow file of a folder is not its data, if it is not.

    Raises:
        DataError: For a dataset whose rows are chosen by a file of indices.
    """
    if path.suffix.lower() != ".arrow":
        return None
    if path.name.startswith("cache-"):
        return "a cached result of `datasets`"
    shards = _shards(path.parent, _changed(path.parent))
    if shards is not None and path.name not in shards:
        return f"not among the files that {_STATE} names"
    return None


def _changed(folder: Path) -> int:
    try:
        return (folder / _STATE).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _shards(folder: Path, changed: int) -> frozenset[str] | None:
    """Return the names of the shards of a saved dataset; None where the folder is not one."""
    state = _state(folder) if changed else None
    if state is None or not isinstance(files := state.get("_data_files"), list):
        return None
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(
            f"the dataset in {str(folder)!r} was saved with a file of indices that chooses its "
            "rows; it must hold the rows themselves; call `flatten_indices()` and save it again"
        )
    return frozenset(str(file.get("filename")) for file in files if isinstance(file, dict))


def _state(folder: Path) -> dict[str, Any] | None:
    if not (folder / _STATE).is_file():  # opening a pipe might wait for ever
        return None
    try:
        with open_permitted(folder / _STATE) as file:
            state = json.loads(file.read(_LONGEST_STATE))
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None
