"""The names of the metrics `val_loss/NAME`, one for each source of a mixture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

_MOST_SOURCES = 30
"""A mixture of more sources has no loss of each: a point of the history has at most 100 values."""
_PREFIX = "val_loss/"
_LONGEST_NAME = 64 - len(_PREFIX)


def loss_names(paths: Sequence[str]) -> list[str]:
    """Return a metric's name for each source: of its path as many last parts as tell them apart.

    `data/wiki.txt` is `val_loss/wiki.txt`. What a metric's name cannot have becomes `-`. Of more
    than 30 sources none has a metric.
    """
    if len(paths) > _MOST_SOURCES:
        return []
    parts = [PurePath(path).parts for path in paths]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = [_named("/".join(part[-count:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [_named(f"{number}-{part[-1]}") for number, part in enumerate(parts, 1)]


def _named(text: str) -> str:
    return _PREFIX + re.sub(r"[^A-Za-z0-9_./-]", "-", text)[-_LONGEST_NAME:]
