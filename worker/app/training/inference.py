"""From a checkpoint file to a model and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.training.checkpoint import load_model
from app.training.checkpoint_file import (
    manifest_path,
    read_manifest,
    read_state,
    verify,
    verify_unlisted,
)
from app.training.config import TrainingConfig
from app.training.data.chat_template import ChatTemplate
from app.training.errors import CheckpointError
from app.training.home import expanded
from app.training.tokenizer import Tokenizer, tokenizer_from_dict
from app.transformer.model import GPTModel


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
    path: str | Path, device: str | torch.device = "cpu", *, averaged: bool = False
) -> LoadedModel:
    """Return what a checkpoint holds, with the model on `device`.

    With `averaged` the model has the average of the weights that `ema_decay` kept.

    The file is verified first: by its manifest, or by its own checksums where it has none (a
    download).

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this library, or has
            no average.
        TokenizerError: its tokenizer is of another release.
    """
    path = expanded(path)
    state = _verified_state(path)
    config = _config_of(state, path)
    model = GPTModel(config.model_config)
    load_model(model, _averaged(state, path) if averaged else state["model_state_dict"], path)
    model.to(device).eval()
    saved, template = state.get("tokenizer"), state.get("chat_template") or {}
    tokenizer = None if saved is None else tokenizer_from_dict(saved)
    chat = ChatTemplate(template["source"], template["tokens"]) if template else None
    return LoadedModel(model, tokenizer, chat, config, int(state["step"]), float(state["loss"]))


def _verified_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    if manifest_path(path).exists():
        verify(read_manifest(path))
    else:
        verify_unlisted(path)
    return read_state(path)


def _averaged(state: dict[str, Any], path: Path) -> dict[str, Any]:
    averages: dict[str, Any] | None = state.get("averaged_state_dict")
    if averages is None:
        raise CheckpointError(
            f"{path} has no average of the weights; train with `ema_decay`, or take the weights"
        )
    return averages


def _config_of(state: dict[str, Any], path: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_dict(state["config"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds a configuration that this release cannot read: {error}"
        ) from error
