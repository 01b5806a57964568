"""From a checkpoint file to a model and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.training.checkpoint import load_model
from app.training.config import TrainingConfig
from app.training.data.chat_template import ChatTemplate
from app.training.errors import CheckpointError, NoAverageError
from app.training.home import expanded
from app.training.mapped_weights import read_mapped, verify_weights
from app.training.tokenizer import Tokenizer, tokenizer_from_dict
from app.transformer.lora import merged_weights
from app.transformer.model import GPTModel
from app.transformer.page_faults import take_pages


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a checkpoint holds for those who use the model."""

    model: GPTModel
    """In evaluation mode."""
    tokenizer: Tokenizer | None
    """None for a model that was trained on ids of unknown origin."""
    chat_template: ChatTemplate | None
    """Of a model that was trained on conversations."""
    config: TrainingConfig
    """That it was trained with."""
    step: int
    """Optimizer steps done."""
    loss: float
    """Training loss of that step, in nats."""


def load_for_generation(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[GPTModel, Tokenizer | None]:
    """Return the model and the tokenizer of a checkpoint, see `load_trained`."""
    loaded = load_trained(path, device)
    return loaded.model, loaded.tokenizer


def load_trained(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    averaged: bool = False,
    mapped: bool = True,
) -> LoadedModel:
    """Return what a checkpoint holds, with the model on `device`.

    What is read is verified by the checksums in the file; the optimizer's state is not read.

    Args:
        averaged: take the average of the weights that `ema_decay` kept.
        mapped: leave the weights in the file until they are used. Not for a file on a network mount
            that others may remove while the model is in use.

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this library, or has
            no average.
        TokenizerError: its tokenizer is of another release.
    """
    path = expanded(path)
    state, config, weights = _verified(path, averaged=averaged)
    model = GPTModel.unfilled(config.model_config)
    merged = merged_weights(weights, config.model_config, config.lora)
    if not mapped:
        take_pages(model.parameters())
    load_model(model, merged, path, mapped=mapped)
    model.to(device).eval()
    saved, template = state.get("tokenizer"), state.get("chat_template") or {}
    tokenizer = None if saved is None else tokenizer_from_dict(saved)
    chat = ChatTemplate(template["source"], template["tokens"]) if template else None
    return LoadedModel(model, tokenizer, chat, config, int(state["step"]), float(state["loss"]))


def read_trained(
    path: str | Path, *, averaged: bool = False
) -> tuple[TrainingConfig, dict[str, Tensor]]:
    """Return what a checkpoint was trained with, and its weights, adapters apart; in the file.

    Raises `CheckpointError` as `load_trained`.
    """
    _, config, weights = _verified(expanded(path), averaged=averaged)
    return config, weights


def _verified(
    path: Path, *, averaged: bool
) -> tuple[dict[str, Any], TrainingConfig, dict[str, Tensor]]:
    state = read_mapped(path)
    config = _config_of(state, path)
    weights = _averaged(state, path) if averaged else state["model_state_dict"]
    verify_weights(path, state, weights)
    return state, config, weights


def _averaged(state: dict[str, Any], path: Path) -> dict[str, Any]:
    averages: dict[str, Any] | None = state.get("averaged_state_dict")
    if averages is None:
        raise NoAverageError(
            f"{path} has no average of the weights; train with `ema_decay`, or take the weights"
        )
    return {**state["model_state_dict"], **averages}  # of what was trained


def _config_of(state: dict[str, Any], path: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_dict(state["config"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds a configuration that this release cannot read: {error}"
        ) from error
