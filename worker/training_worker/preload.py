"""Imports everything a trainer needs into the process that forks trainers.

Importing torch costs about 2 s and the first AdamW, which brings in `torch._dynamo`, about as
much again; a forked trainer has both at once. Nothing here may start a thread pool or a CUDA
context: neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib

_MODULES = (
    "app.training.config",
    "app.training.data.loading",
    "app.training.trainer",
    "app.transformer.model",
)


def preload() -> None:
    """Import the library with all that it imports late, and leave the garbage collector a clean
    heap, so that the pages stay shared between this process and its trainers."""
    import torch

    for name in _MODULES:
        importlib.import_module(name)
    parameter = torch.nn.Parameter(torch.zeros(1))
    torch.optim.AdamW([parameter])
    gc.collect()
    gc.freeze()


def describe_device(wanted: str) -> str:
    """ "cpu" or "cuda", with the device's name where known, without opening a CUDA context."""
    import torch

    if not wanted.startswith("cuda") and wanted != "auto":
        return wanted
    # NVML counts devices without a context; a context in the parent would break every fork.
    count = torch.cuda.device_count() if torch.version.cuda else 0
    if count == 0:
        return "cpu"
    return f"cuda ({count} device{'s' if count > 1 else ''})"
