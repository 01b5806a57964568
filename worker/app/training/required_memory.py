"""Refuses a model that the memory cannot hold, before the kernel ends the process for it."""

from __future__ import annotations

import logging

import torch

from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.errors import TrainingMemoryError
from app.training.fit import MemoryPool, beyond_memory, state_beyond_memory
from app.training.memory import machine_memory, machine_swap

logger = logging.getLogger(__name__)


def require_memory(config: TrainingConfig, ranks: Ranks) -> None:
    """Warn of a run that probably does not fit.

    Raises:
        TrainingMemoryError: It cannot.
    """
    room = _room(config, ranks)
    if room is None:
        return
    if problem := state_beyond_memory(config, room):
        raise TrainingMemoryError(problem)
    if (warning := beyond_memory(config, room)) and ranks.is_main:
        logger.warning("%s", warning.message)


def _room(config: TrainingConfig, ranks: Ranks) -> MemoryPool | None:
    """Return the memory that this process trains in, alone or with others.

    None where it is unknown.
    """
    sharded = config.distributed is not None and config.distributed.strategy == "fsdp"
    if ranks.device.type == "cuda":
        total = torch.cuda.get_device_properties(ranks.device).total_memory
        return MemoryPool(str(ranks.device), total, copies=1 / ranks.world_size if sharded else 1)
    memory = machine_memory()
    if ranks.device.type != "cpu" or memory is None:
        return None
    here = ranks.local_size
    copies = here / ranks.world_size if sharded else here
    return MemoryPool("this machine", memory, machine_swap(), copies, here)
