"""Sampling: one token after another from a model, with a key/value cache."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.transformer.row_decoding import build_decoder

if TYPE_CHECKING:
    from app.transformer.model import GPTModel


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from logits. Raises `ValueError` for values out of range."""

    temperature: float = 1.0
    """Logits are divided by it, ≥ 0; 0 always takes the most likely token."""

    top_k: int | None = None
    """Keep only this many of the most likely tokens, ≥ 1. None keeps all."""

    top_p: float | None = None
    """Keep the fewest most likely tokens whose probabilities add up to this, in (0, 1]
    (nucleus sampling, Holtzman et al. 2019). None keeps all. Applied after `top_k`."""

    seed: int | None = None
    """Seed of the draws, in [0, 2^63). None takes a fresh one from the operating system."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(
                f"`temperature` is {self.temperature}; it must be at least 0 and finite; "
                "try 0.8, or 0 for the most likely token"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"`top_k` is {self.top_k}; it must be at least 1; try 50, or leave it out"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"`top_p` is {self.top_p}; it must be above 0 and at most 1; "
                "try 0.95, or leave it out"
            )
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ValueError(
                f"`seed` is {self.seed}; it must be at least 0 and below 2^63; try 1337"
            )

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a generator of its own: sampling never disturbs the global random state."""
        generator = torch.Generator(device=device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """One token id for each row: [batch, vocab] -> [batch]."""
        if self.temperature < torch.finfo(torch.float32).tiny:  # 0 to the division below
            return logits.argmax(-1)
        # Largest logit at 0 before dividing: a tiny temperature must not overflow.
        logits = logits.float()
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            smallest_kept = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < smallest_kept, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            logits = _nucleus(logits, self.top_p)
        return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    # A token stays while those before it have not reached top_p: the first always stays, also
    # where top_p is 0 to a float32.
    dropped = probabilities.cumsum(-1) - probabilities >= top_p
    dropped[:, 0] = False
    return logits.masked_fill(dropped.scatter(1, order, dropped), -math.inf)


def sample(
    model: GPTModel,
    input_ids: Tensor,
    max_new_tokens: int,
    sampling: Sampling,
    stop_tokens: Collection[int] = (),
) -> Iterator[Tensor]:
    """Yield the next token of each row, int64 [batch], up to `max_new_tokens` times.

    Ends early once every row has produced one of `stop_tokens`; a row that did goes on with that
    token. When the context is full, the newer half of it is kept and the cache is rebuilt from
    that: positions count from its start again.
    """
    _check_prompt(model, input_ids, max_new_tokens)
    generator = sampling.generator(input_ids.device)
    stops = torch.tensor(sorted(stop_tokens), dtype=torch.long, device=input_ids.device)
    finished = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    window = _Window(model, input_ids)
    token = input_ids[:, -1]
    for _ in range(max_new_tokens):
        drawn = sampling.draw(window.next_logits(), generator)
        token = torch.where(finished, token, drawn) if stop_tokens else drawn
        yield token
        if stop_tokens:
            finished |= torch.isin(token, stops)
            if bool(finished.all()):
                return
        window.append(token)


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
