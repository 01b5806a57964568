"""The exponential moving average of a model's weights (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from app.training.sharding import local


class AveragedWeights:
    """An average that follows the weights of a model after each step.

    After step *n* it moves by 1 - min(`decay`, n / (n + 9)) towards the weights: an average of few
    steps would else be made of the initial weights.

    Args:
        model: its parameters that are trained are followed, each process's shard of them where they
            are sharded.
        decay: in (0, 1); the average is of about 1 / (1 - decay) steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        trained = (pair for pair in model.named_parameters() if pair[1].requires_grad)
        self._weights = dict(trained)
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after a step, which counts from 1."""
        share = 1 - min(self._decay, step / (step + 9))
        torch._foreach_lerp_(self._parts(self._averages), self._parts(self._weights), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the model for as long as the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names of their parameters; the tensors are the live ones."""
        return dict(self._averages)

    @torch.no_grad()
    def load(self, averages: Mapping[str, Any] | None) -> None:
        """Continue from a checkpoint's averages, or from the model's weights where it has none."""
        for name, average in self._averages.items():
            average.copy_(averages[name] if averages else self._weights[name])

    @torch.no_grad()
    def _swap(self) -> None:
        pairs = zip(self._parts(self._weights), self._parts(self._averages), strict=True)
        for weight, average in pairs:
            copy = weight.clone()
            weight.copy_(average)
            average.copy_(copy)

    @staticmethod
    def _parts(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return [local(tensor.detach()) for tensor in tensors.values()]
