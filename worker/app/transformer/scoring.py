"""Scoring: how likely a model finds tokens that are given, rather than sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from app.transformer.attention import LayerCache

if TYPE_CHECKING:
    from app.transformer.model import GPTModel

_TOKENS_AT_ONCE = 128
"""Their probabilities over a vocabulary of 50,000 take 26 MB."""


class TokenScores(NamedTuple):
    """What a model says of each token but the first, given those before it."""

    logprobs: Tensor
    """Natural logarithm of its probability, float32 [time - 1]."""
    likeliest: Tensor
    """The tokens that were likeliest at its place, the likeliest first, int64 [time - 1, count]."""
    likeliest_logprobs: Tensor
    """Theirs, float32 [time - 1, count]."""


@torch.no_grad()
def score_tokens(model: GPTModel, tokens: Tensor, vocab_size: int, count: int = 0) -> TokenScores:
    """Return the scores of `tokens`.

    Args:
        model: used as in evaluation, whatever its mode, which stays.
        tokens: int64 [time], 1 ≤ time ≤ `max_position_embeddings`.
        vocab_size: ids from it on are not among the likeliest; they have their probability.
        count: how many of the likeliest tokens to return, ≤ `vocab_size`.
    """
    caches = [LayerCache(len(tokens)) for _ in model.blocks]
    pieces = [TokenScores(tokens.new_empty(0).float(), *_none(tokens, count))]
    was_training = model.training
    model.eval()
    try:
        for begin in range(0, len(tokens) - 1, _TOKENS_AT_ONCE):
            piece = tokens[begin : min(begin + _TOKENS_AT_ONCE, len(tokens) - 1)]
            hidden = model.hidden_states(piece[None], caches, before=tokens[None, :begin])
            scores = model.project(hidden[0]).float().log_softmax(-1)
            behind = tokens[begin + 1 : begin + 1 + len(piece), None]
            best = scores[:, :vocab_size].topk(count)
            pieces.append(TokenScores(scores.gather(1, behind)[:, 0], best.indices, best.values))
    finally:
        model.train(was_training)
    return TokenScores(*map(torch.cat, zip(*pieces, strict=True)))


def _none(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    empty = tokens.new_empty(0, count)
    return empty, empty.float()
