"""The training library: pure PyTorch, no network, no service.

Names are imported on first use, so that `app.training.config` never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.checkpoint import CheckpointManager
    from app.training.config import TrainingConfig
    from app.training.metrics import MetricsTracker
    from app.training.scheduler import get_scheduler
    from app.training.trainer import Trainer

__all__ = ["CheckpointManager", "MetricsTracker", "Trainer", "TrainingConfig", "get_scheduler"]

_HOMES = {
    "CheckpointManager": "app.training.checkpoint",
    "MetricsTracker": "app.training.metrics",
    "Trainer": "app.training.trainer",
    "TrainingConfig": "app.training.config",
    "get_scheduler": "app.training.scheduler",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
