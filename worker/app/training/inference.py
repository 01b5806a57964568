"""From a checkpoint file to a model and tokenizer, and from those to text."""

from __future__ import annotations

from collections.abc import Iterator
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
from app.training.errors import CheckpointError
from app.training.home import expanded
from app.training.tokenizer import Tokenizer, tokenizer_from_dict
from app.transformer.model import GPTModel


class NotSampledError(ValueError):
    """Text cannot be sampled as requested; the message is for the client."""


@dataclass(frozen=True, slots=True)
class SampledPiece:
    """What one sampled token adds to the text."""

    index: int
    """Counts from 0."""
    token_id: int
    text: str
    """May be empty inside a character."""
    finish_reason: str = ""
    """On the last piece: "length" or "stop"."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a checkpoint holds for those who use the model."""

    model: GPTModel
    """In evaluation mode."""
    tokenizer: Tokenizer | None
    """None for a model that was trained on ids of unknown origin."""
    chat_template: str | None
    """The Jinja template of a model that was trained on conversations."""


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
    return LoadedModel(model, tokenizer, template.get("source"))


def sample_pieces(
    model: GPTModel,
    tokenizer: Tokenizer | None,
    prompt: str,
    *,
    max_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[SampledPiece]:
    """Continue `prompt` token by token, up to `max_tokens` or the tokenizer's end of text.

    `temperature`, `top_k`, `top_p` and `seed` are those of `app.transformer.generation.Sampling`.
    A piece comes as soon as its text is certain.

    Raises:
        NotSampledError: the model has no tokenizer.
        ValueError: an argument is out of range, or the tokenizer cannot express the prompt.
    """
    if tokenizer is None:
        raise NotSampledError(
            "the checkpoint has no tokenizer: it was trained on token ids of unknown origin; "
            "train on text, or name the tokenizer in the configuration"
        )
    if max_tokens < 1:
        raise ValueError(f"`max_tokens` is {max_tokens}; it must be at least 1; try 256")
    end = tokenizer.end_of_text_id
    ids = [int(token) for token in tokenizer.encode(prompt)] or [_first_token(tokenizer)]
    tokens = model.generate_stream(
        torch.tensor([ids], device=next(model.parameters()).device),
        max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_tokens=() if end is None else (end,),
    )
    return _pieces(tokens, tokenizer, max_tokens)


def _pieces(tokens: Iterator[int], tokenizer: Tokenizer, max_tokens: int) -> Iterator[SampledPiece]:
    stream = tokenizer.stream()
    for index, token in enumerate(tokens):
        if token == tokenizer.end_of_text_id:
            yield SampledPiece(index, token, stream.finish(), "stop")
            return
        text = stream.push(token)
        if index + 1 >= max_tokens:
            yield SampledPiece(index, token, text + stream.finish(), "length")
            return
        yield SampledPiece(index, token, text)


def _first_token(tokenizer: Tokenizer) -> int:
    """Return what an empty prompt begins with: the end of a text before, or a line's end."""
    if tokenizer.end_of_text_id is not None:
        return tokenizer.end_of_text_id
    try:
        return int(tokenizer.encode("\n")[0])
    except (ValueError, IndexError):
        return 0


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
