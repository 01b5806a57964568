"""How the next token is drawn from logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor

_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "temperature",
        lambda value: 0 <= value < math.inf,
        "at least 0 and finite; try 0.8, or 0 for the most likely token",
    ),
    ("top_k", lambda value: value >= 1, "at least 1; try 50, or leave it out"),
    ("top_p", lambda value: 0 < value <= 1, "above 0 and at most 1; try 0.95, or leave it out"),
    ("min_p", lambda value: 0 <= value <= 1, "at least 0 and at most 1; try 0.05, or leave it out"),
    (
        "repetition_penalty",
        lambda value: 0 < value < math.inf,
        "above 0 and finite; try 1.1, or leave it out",
    ),
    ("frequency_penalty", lambda value: -2 <= value <= 2, "-2 to 2; try 0.5, or leave it out"),
    ("presence_penalty", lambda value: -2 <= value <= 2, "-2 to 2; try 0.5, or leave it out"),
    ("seed", lambda value: 0 <= value < 2**63, "at least 0 and below 2^63; try 1337"),
    ("vocab_size", lambda value: value >= 1, "at least 1; leave it out for all ids"),
)


class SamplingOptions(TypedDict, total=False):
    """What may be given of `Sampling` by name."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    vocab_size: int | None


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from logits. Raises `ValueError` for values out of range.

    The order is that of Hugging Face's `generate`: `repetition_penalty`, then `temperature`,
    `top_k`, `top_p`, `min_p`; `frequency_penalty` and `presence_penalty` come behind the first. At
    temperature 0 only the penalties count.
    """

    temperature: float = 1.0
    """Logits are divided by it, ≥ 0; 0 always takes the most likely token."""

    top_k: int | None = None
    """Keep only this many of the most likely tokens, ≥ 1. None keeps all."""

    top_p: float | None = None
    """Keep the fewest most likely tokens whose probabilities add up to this, in (0, 1]
    (nucleus sampling, Holtzman et al. 2019). None keeps all. Applied after `top_k`."""

    min_p: float | None = None
    """Keep tokens whose probability is at least this share of the most likely one's, in [0, 1]
    (min-p sampling, Nguyen et al. 2024, arXiv:2407.01082). None keeps all. Applied after `top_p`,
    to the probabilities of the tokens that are left."""

    repetition_penalty: float | None = None
    """Logits of tokens that are in the prompt or were drawn before are divided by it where they are
    positive and multiplied by it where they are negative, > 0 (Keskar et al. 2019,
    arXiv:1909.05858). Above 1 there are fewer repetitions; None and 1 change nothing."""

    frequency_penalty: float | None = None
    """Logits fall by it for each time that their token was drawn before, -2 to 2. With
    `presence_penalty`, a logit of a token that was drawn c times is `logit - c * frequency_penalty
    - (1 if c else 0) * presence_penalty`, as in OpenAI's API ("Frequency and presence penalties" of
    its reference). The prompt does not count. None and 0 change nothing."""

    presence_penalty: float | None = None
    """Logits fall by it where their token was drawn before, -2 to 2; see `frequency_penalty`."""

    seed: int | None = None
    """Seed of the draws, in [0, 2^63). None takes a fresh one from the operating system."""

    vocab_size: int | None = None
    """Only ids below it are drawn, ≥ 1: a model's vocabulary may be padded beyond its tokenizer's.
    None allows all."""

    def __post_init__(self) -> None:
        for name, holds, rule in _RULES:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"`{name}` is {value}; it must be {rule}")

    @property
    def penalizes(self) -> bool:
        """Whether earlier tokens count."""
        return self.repetition_penalty not in (None, 1)

    @property
    def counts(self) -> bool:
        """Whether it counts how often each token was drawn."""
        return bool(self.frequency_penalty or self.presence_penalty)

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a generator of its own: sampling never disturbs the global random state."""
        generator = torch.Generator(device=device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator

    def draw(
        self,
        logits: Tensor,
        generator: torch.Generator,
        seen: Tensor | None = None,
        drawn: Tensor | None = None,
    ) -> Tensor:
        """One token id for each row: [batch, vocab] -> [batch].

        `seen` marks the tokens of each row so far, bool [batch, vocab]; needed where the sampling
        penalizes. `drawn` is how often each token was drawn, float32 [batch, vocab]; needed where
        the sampling counts.
        """
        if seen is not None:
            logits = self._penalized(logits, seen)
        if drawn is not None:
            logits = self._lowered(logits, drawn)
        logits = logits[:, : self.vocab_size]
        if self.temperature < torch.finfo(torch.float32).tiny:  # 0 to the division of `filtered`
            return logits.argmax(-1)
        probabilities = self.filtered(logits).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)

    def filtered(self, logits: Tensor) -> Tensor:
        """Return the logits to draw from, [batch, vocab]: -inf for tokens that are cut off."""
        # Largest logit at 0 before dividing: a tiny temperature must not overflow.
        logits = logits.float()
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            smallest_kept = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < smallest_kept, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            logits = _nucleus(logits, self.top_p)
        if self.min_p:
            # The largest logit is 0, so this is the ratio of two probabilities.
            logits = logits.masked_fill(logits.exp() < self.min_p, -math.inf)
        return logits

    def _penalized(self, logits: Tensor, seen: Tensor) -> Tensor:
        penalty = self.repetition_penalty or 1.0
        penalized = torch.where(logits < 0, logits * penalty, logits / penalty)
        return torch.where(seen, penalized, logits)

    def _lowered(self, logits: Tensor, drawn: Tensor) -> Tensor:
        frequency, presence = self.frequency_penalty or 0.0, self.presence_penalty or 0.0
        return logits.float() - frequency * drawn - presence * (drawn > 0)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    # A token stays while those before it have not reached top_p: the first always stays, also
    # where top_p is 0 to a float32.
    dropped = probabilities.cumsum(-1) - probabilities >= top_p
    dropped[:, 0] = False
    return logits.masked_fill(dropped.scatter(1, order, dropped), -math.inf)
