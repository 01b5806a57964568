"""Where and how precisely a run computes: its device, autocast, loss scaling, process switches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from app.training.allocator import ask_for_huge_pages, keep_freed_memory
from app.training.config import TrainingConfig
from app.transformer.errors import ConfigError, FieldProblem

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_ERROR = 2
"""The mode of torch in which an operation that is not deterministic raises."""


def choose_device(name: str) -> torch.device:
    """Return the device a configuration names; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: This machine does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        available = f"{torch.cuda.device_count()} CUDA devices"
        message = f"`device` is {name!r}; this machine has {available}; use auto or cpu"
        raise ConfigError([FieldProblem("device", message)])
    if device.type == "mps" and not torch.backends.mps.is_available():
        message = "`device` is 'mps'; this machine has no such device; use auto or cpu"
        raise ConfigError([FieldProblem("device", message)])
    return device


def autocast(device: torch.device, mixed_precision: str | None) -> Any:
    """Return a context in which the forward pass runs at the configured precision.

    Make one for each forward pass. Without mixed precision it costs nothing.
    """
    if mixed_precision is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[mixed_precision])


@contextlib.contextmanager
def process_switches(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Global switches of torch for the time of the run; what was set before comes back.

    On CUDA fp32 matmuls use TF32 on purpose: about three times as fast, at a precision that
    training does not notice.
    """
    precision = torch.get_float32_matmul_precision()
    deterministic = torch.get_deterministic_debug_mode()
    benchmark = torch.backends.cudnn.benchmark
    try:
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        else:
            if keep_freed_memory():  # stays: there is no way back, and no harm in it
                ask_for_huge_pages()
        if config.deterministic:
            # cuBLAS reads it at its first call; without it deterministic matmuls are refused.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            _set_deterministic(_ERROR, config)
            torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        _set_deterministic(deterministic, config)
        torch.backends.cudnn.benchmark = benchmark


def _set_deterministic(mode: int, config: TrainingConfig) -> None:
    """Set torch's mode for operations that are not deterministic: 0 default, 1 warn, 2 error."""
    if config.compile:
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
    else:  # without the import of the compiler, seconds long, that the other one makes
        torch.set_deterministic_debug_mode(mode)
