"""Imports everything that a worker and its trainers need into the process that forks them.

Importing torch takes seconds, and what several processes need besides takes as long again; a
forked trainer has both at once. Nothing here may start a thread pool or a CUDA context: neither
survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")
_MODULES = (
    "app.training.config",
    "app.training.data.loading",
    "app.training.distributed_launch",
    "app.training.inference",
    "app.training.trainer",
    "app.transformer.model",
    "torch.utils.serialization.config",
    "training_worker.worker",
    "yaml",
)


def preload() -> None:
    """Import the worker and the library, with what a trainer imports late."""
    for name in _MODULES:
        importlib.import_module(name)
    _share_heap()


def preload_for_ranks() -> None:
    """Import what only jobs of several processes need. Seconds for the first call."""
    importlib.import_module("app.training.distributed_launch").import_for_ranks()
    _share_heap()


def _share_heap() -> None:
    """Keep the garbage collector from writing to pages that this process and its forks share."""
    gc.collect()
    gc.freeze()


def describe_device(device: str) -> str:
    """Return "cpu" or "cuda", with the devices' names where known.

    Asks the driver's files: a CUDA context in this process would break every trainer it forks.
    """
    if device not in ("auto", "cuda") and not device.startswith("cuda:"):
        return device
    gpus = [_model_name(path) for path in sorted(_GPUS.glob("*/information"))]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return f"cuda ({', '.join(gpus)})" if gpus and not hidden else "cpu"


def _model_name(information: Path) -> str:
    rows = (row.partition(":") for row in information.read_text(errors="replace").splitlines())
    return next((value.strip() for name, _, value in rows if name == "Model"), "unnamed")
