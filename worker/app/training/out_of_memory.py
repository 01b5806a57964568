"""Running out of memory: how it is known, and what to tell."""

from __future__ import annotations

import torch

from app.training.config import TrainingConfig
from app.training.errors import TrainingMemoryError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # What the CPU's allocator and cuBLAS say.
    return any(s in str(error) for s in ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED"))


def memory_error(
    error: BaseException, config: TrainingConfig, device: torch.device
) -> TrainingMemoryError:
    """Return the error that says what to lower in the configuration."""
    first_line = str(error).split("\n", 1)[0]
    half = max(config.batch_size // 2, 1)
    return TrainingMemoryError(
        f"out of memory on {device} with batch_size={config.batch_size} and "
        f"sequence_length={config.get_sequence_length()} ({first_line}); lower `batch_size` to "
        f"{half} and raise `gradient_accumulation_steps` to "
        f"{config.get_effective_batch_size() // half}, which trains the same; or set "
        "`gradient_checkpointing: true`, `mixed_precision: bf16`, or a smaller `sequence_length`"
    )
