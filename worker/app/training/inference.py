"""From a checkpoint file to a model and tokenizer, and from those to text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from app.training.data.conversations import turns_of
from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.errors import CheckpointError
from app.training.home import expanded
from app.training.tokenizer import PretrainedTokenizer, Tokenizer, tokenizer_from_dict
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
    chat_template: ChatTemplate | None
    """Of a model that was trained on conversations."""


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
    return LoadedModel(model, tokenizer, chat)


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
    end: str = "",
) -> Iterator[SampledPiece]:
    """Continue `prompt` token by token, up to `max_tokens` or the tokenizer's end of text.

    `temperature`, `top_k`, `top_p` and `seed` are those of `app.transformer.generation.Sampling`.
    `end` is a text that ends it, too.
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
    stops = _stop_ids(tokenizer, end)
    ids = [int(token) for token in tokenizer.encode(prompt)] or [_first_token(tokenizer)]
    tokens = model.generate_stream(
        torch.tensor([ids], device=next(model.parameters()).device),
        max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_tokens=stops,
    )
    pieces = _pieces(tokens, tokenizer, max_tokens, stops)
    return _up_to(end, pieces) if end else pieces


def _stop_ids(tokenizer: Tokenizer, end: str) -> tuple[int, ...]:
    """Return the ids that end a text: the tokenizer's own, and a special token that is `end`."""
    stops = [] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]
    ids = tokenizer.encode(end).tolist() if isinstance(tokenizer, PretrainedTokenizer) else []
    return (*stops, *ids) if len(ids) == 1 else tuple(stops)


def answer_pieces(
    loaded: LoadedModel, messages: Sequence[tuple[str, str]], **options: Any
) -> Iterator[SampledPiece]:
    """Answer a conversation as a model does that was trained on such, token by token.

    The checkpoint's chat template writes the turns; what it writes behind an answer ends this one.

    Args:
        messages: role and content of each turn.
        options: as `sample_pieces` takes them.

    Raises:
        NotSampledError: the checkpoint has no chat template, or that cannot write the turns.
        ValueError: as by `sample_pieces`.
    """
    template = loaded.chat_template
    if template is None:
        raise NotSampledError(
            "the checkpoint has no chat template: its model was not trained on conversations; give "
            "a `prompt` to continue, or train on `messages`"
        )
    try:
        turns = turns_of(messages)
        place = Place(Path("messages"), "turn", len(turns))
        prompt, end = template.prompt(turns, place), template.end_of_answer(turns, place)
    except DataError as error:
        raise NotSampledError(str(error)) from None
    return sample_pieces(loaded.model, loaded.tokenizer, prompt, end=end, **options)


def _up_to(end: str, pieces: Iterator[SampledPiece]) -> Iterator[SampledPiece]:
    """Yield the pieces before the text `end`; what may be its beginning waits for the rest."""
    held = ""
    for piece in pieces:
        text = held + piece.text
        if (found := text.find(end)) >= 0:
            yield replace(piece, text=text[:found], finish_reason="stop")
            return
        waits = 0 if piece.finish_reason else _beginning_of(end, text)
        held = text[len(text) - waits :]
        yield replace(piece, text=text[: len(text) - waits])


def _beginning_of(end: str, text: str) -> int:
    """Return how many characters at the end of `text` are the first ones of `end`."""
    sizes = range(min(len(end) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(end[:size])), 0)


def _pieces(
    tokens: Iterator[int], tokenizer: Tokenizer, max_tokens: int, stops: Sequence[int]
) -> Iterator[SampledPiece]:
    stream = tokenizer.stream()
    for index, token in enumerate(tokens):
        if token in stops:
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
