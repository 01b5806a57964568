"""Sampling: one token after another from a model, with a key/value cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from app.transformer.row_decoding import build_decoder
from app.transformer.sampling import Sampling

if TYPE_CHECKING:
    from app.transformer.model import GPTModel


class Step(NamedTuple):
    """One sampled token of each row."""

    tokens: Tensor
    """int64 [batch]."""
    logits: Tensor
    """What the model said of all tokens, before any option of the sampling, [batch, vocab]."""


def sample(
    model: GPTModel,
    input_ids: Tensor,
    max_new_tokens: int,
    sampling: Sampling,
    stop_tokens: Collection[int] = (),
) -> Iterator[Step]:
    """Yield the next token of each row up to `max_new_tokens` times.

    Ends early once every row has produced one of `stop_tokens`; a row that did goes on with that
    token. When the context is full, the newer half of it is kept and the cache is rebuilt from
    that: positions count from its start again.
    """
    _check_prompt(model, input_ids, max_new_tokens)
    generator = sampling.generator(input_ids.device)
    stops = torch.tensor(sorted(stop_tokens), dtype=torch.long, device=input_ids.device)
    finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    window = _Window(model, input_ids)
    earlier = _Earlier(model, input_ids, sampling)
    token = input_ids[:, -1]
    for _ in range(max_new_tokens):
        logits = window.next_logits()
        drawn = sampling.draw(logits, generator, earlier.seen, earlier.drawn)
        token = torch.where(finished, token, drawn) if stop_tokens else drawn
        yield Step(token, logits)
        earlier.take(token[:, None])
        if stop_tokens:
            finished |= torch.isin(token, stops)
            if bool(finished.all()):
                return
        window.append(token)


class _Earlier:
    """The tokens so far, as the sampling needs them."""

    def __init__(self, model: GPTModel, prompt: Tensor, sampling: Sampling) -> None:
        shape, where = (len(prompt), model.config.vocab_size), prompt.device
        self.seen = self.drawn = None
        if sampling.penalizes:
            self.seen = torch.zeros(shape, dtype=torch.bool, device=where)
            self.seen.scatter_(1, prompt, value=True)
        if sampling.counts:
            self.drawn = torch.zeros(shape, device=where)

    def take(self, tokens: Tensor) -> None:
        """Add the token that was drawn for each row, int64 [batch, 1]."""
        if self.seen is not None:
            self.seen.scatter_(1, tokens, value=True)
        if self.drawn is not None:
            self.drawn.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=torch.float32))


class _Window:
    """The tokens the model can see, and what it has computed of them."""

    def __init__(self, model: GPTModel, input_ids: Tensor) -> None:
        self._model = model
        self._capacity = model.config.max_position_embeddings
        self._tokens = input_ids.new_empty(len(input_ids), self._capacity)
        self._restart(input_ids[:, -self._capacity :])

    def _restart(self, tokens: Tensor) -> None:
        self._tokens[:, : tokens.shape[1]] = tokens
        self._decoder = build_decoder(self._model, tokens)

    def append(self, token: Tensor) -> None:
        if self._decoder.length == self._capacity:
            # Half, not all but one: a rebuild then pays for capacity / 2 cheap steps.
            kept = self._tokens[:, self._capacity - self._capacity // 2 :]
            self._restart(torch.cat((kept, token[:, None]), 1))
        else:
            self._tokens[:, self._decoder.length] = token
            self._decoder.append(token)

    def next_logits(self) -> Tensor:
        """Return the logits of the token after the last one, [batch, vocab]."""
        return self._decoder.logits


def _check_prompt(model: GPTModel, input_ids: Tensor, max_new_tokens: int) -> None:
    if input_ids.dim() != 2 or 0 in input_ids.shape or input_ids.dtype != torch.long:
        raise ValueError(
            f"`input_ids` is {input_ids.dtype} of shape {tuple(input_ids.shape)}; it must be "
            "int64 [batch, time] with at least one token; start an empty prompt with a newline"
        )
    low, high = int(input_ids.min()), int(input_ids.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(
            f"`input_ids` holds token {low if low < 0 else high}; tokens must be at least 0 and "
            f"below vocab_size={model.config.vocab_size}; use the tokenizer it was trained with"
        )
    if max_new_tokens < 0:
        raise ValueError(f"`max_new_tokens` is {max_new_tokens}; it must be at least 0; try 100")
