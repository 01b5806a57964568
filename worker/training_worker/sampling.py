"""Text from a model, a piece for each token, as soon as it is certain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from job_store.generation import GeneratedPiece

if TYPE_CHECKING:
    from app.training.tokenizer import Tokenizer
    from app.transformer import GPTModel


class NotSampledError(ValueError):
    """Text cannot be sampled as asked; the message is for whoever asked."""


def sample_pieces(
    model: GPTModel,
    tokenizer: Tokenizer | None,
    prompt: str,
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[GeneratedPiece]:
    """Continue `prompt` token by token, up to `max_tokens` or the tokenizer's end of text.

    Raises `NotSampledError` for a model without tokenizer, `ValueError` for arguments out of
    range or a prompt that the tokenizer cannot express.
    """
    import torch

    if tokenizer is None:
        raise NotSampledError(
            "the checkpoint has no tokenizer: it was trained on token ids of unknown origin; "
            "train on text, or name the tokenizer in the configuration"
        )
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
    stream = tokenizer.stream()
    for index, token in enumerate(tokens):
        if token == end:
            yield GeneratedPiece(index, token, stream.finish(), "stop")
            return
        text = stream.push(token)
        if index + 1 >= max_tokens:
            yield GeneratedPiece(index, token, text + stream.finish(), "length")
            return
        yield GeneratedPiece(index, token, text)


def _first_token(tokenizer: Tokenizer) -> int:
    """What an empty prompt begins with: the end of a text before, or a line's end."""
    if tokenizer.end_of_text_id is not None:
        return tokenizer.end_of_text_id
    try:
        return int(tokenizer.encode("\n")[0])
    except (ValueError, IndexError):
        return 0
