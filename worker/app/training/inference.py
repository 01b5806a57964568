"""From a checkpoint file to a model and tokenizer that can generate text."""

from __future__ import annotations

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
from app.training.errors import CheckpointError
from app.training.tokenizer import Tokenizer, tokenizer_from_dict
from app.transformer.model import GPTModel


def load_for_generation(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[GPTModel, Tokenizer | None]:
    """Return the model of a checkpoint, in evaluation mode on `device`, and its tokenizer.

    The tokenizer is None for a model that was trained on ids of unknown origin. The file is
    verified first: by its manifest, or by its own checksums where it has none (a download).

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of this library.
        TokenizerError: its tokenizer is of another release.
    """
    path = Path(path)
    state = _verified_state(path)
    config = _config_of(state, path)
    model = GPTModel(config.model_config)
    load_model(model, state["model_state_dict"], path)
    model.to(device).eval()
    saved = state.get("tokenizer")
    return model, None if saved is None else tokenizer_from_dict(saved)


def _verified_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    if manifest_path(path).exists():
        verify(read_manifest(path))
    else:
        verify_unlisted(path)
    return read_state(path)


def _config_of(state: dict[str, Any], path: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_dict(state["config"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds a configuration that this release cannot read: {error}"
        ) from error
