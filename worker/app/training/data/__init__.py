"""From files to batches of tokens: read, tokenize once into a cache, cut into windows.

    load_dataset ─ sources (files → text or ids) ─ cache (ids on disk, by content)
                 └ windows (ids → samples of sequence_length + 1)

Names are imported on first use, so that importing the package never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.data.errors import DataError
    from app.training.data.loading import load_dataset
    from app.training.data.windows import TrainingWindows, ValidationWindows

__all__ = ["DataError", "TrainingWindows", "ValidationWindows", "load_dataset"]

_HOMES = {
    "DataError": "app.training.data.errors",
    "TrainingWindows": "app.training.data.windows",
    "ValidationWindows": "app.training.data.windows",
    "load_dataset": "app.training.data.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
