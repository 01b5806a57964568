"""The loss over a whole validation set, leaving no trace in the training that it interrupts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from app.training.batches import SampleReader, validation_batches
from app.training.distributed import Ranks
from app.training.metrics import compute_perplexity
from app.training.precision import autocast
from app.training.rng import isolated


def evaluate(
    forward: Any,
    model: nn.Module,
    reader: SampleReader,
    batch_size: int,
    device: torch.device,
    mixed_precision: str | None,
    interrupted: Callable[[], bool],
    ranks: Ranks,
) -> dict[str, float] | None:
    """`val_loss` (mean over all tokens, in nats) and `val_perplexity` of every sample.

    Several processes share the batches out. Returns None if `interrupted` says so before the
    end, in all of them at the same batch.
    """
    was_training = model.training
    model.eval()
    # On the device and in double precision: one wait at the end, whatever the number of batches.
    total = torch.zeros((), device=device, dtype=_accumulator_type(device))
    tokens = 0
    try:
        with isolated(), torch.no_grad():
            for batch, counts in validation_batches(reader, batch_size, ranks):
                if interrupted():
                    return None
                moved = batch.to(device)
                with autocast(device, mixed_precision):
                    loss = forward(moved.inputs, moved.labels, reduction="sum")[1]
                if counts:
                    total += loss
                    tokens += batch.tokens
    finally:
        model.train(was_training)
    ranks.sum_tensor(total)
    mean = total.item() / ranks.sum(tokens)
    return {"val_loss": mean, "val_perplexity": compute_perplexity(mean)}


def _accumulator_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
