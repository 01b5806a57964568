"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685), applied to a model from outside.

The weights W of a layer stay; B A is trained beside them, and the layer computes
W x + alpha / rank · B A x. B begins as zero, so the model begins as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.transformer.config import TransformerConfig
from app.transformer.lora_layout import (
    FACTOR_A,
    FACTOR_B,
    AdaptedLayer,
    LoraConfig,
    Part,
    adapted_layers,
)

if TYPE_CHECKING:
    from app.transformer.model import GPTModel


class LoraLinear(nn.Linear):
    """A linear layer with an adapter on each of some of its parts.

    `lora_a` holds the factors A of these parts one below the other, [parts * rank, in], and
    `lora_b` the factors B, [rows of these parts, rank].
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    parts: tuple[Part, ...]
    rank: int
    scale: float
    lora_dropout: float

    def forward(self, x: Tensor) -> Tensor:
        dropped = F.dropout(x, self.lora_dropout, self.training)
        return super().forward(x) + self.scale * self._update(dropped)

    def without_dropout(self, x: Tensor) -> Tensor:
        """Return what `forward` does in evaluation mode."""
        return super().forward(x) + self.scale * self._update(x)

    def _update(self, x: Tensor) -> Tensor:
        """Return B A x, [..., in] -> [..., out]; zeros for parts without an adapter."""
        narrow = torch.split(F.linear(x, self.lora_a), self.rank, -1)
        rows = [part.rows for part in self.parts if part.adapted]
        factors = zip(narrow, torch.split(self.lora_b, rows), strict=True)
        updates = [
            F.linear(*next(factors))
            if part.adapted
            else narrow[0].new_zeros(*x.shape[:-1], part.rows)
            for part in self.parts
        ]
        return torch.cat(updates, -1) if len(updates) > 1 else updates[0]


def add_adapters(model: GPTModel, lora: LoraConfig) -> GPTModel:
    """Return `model` with adapters on its target layers; only these are trained from now on.

    A is drawn as `nn.Linear` draws its weights (He et al. 2015), from the global generator.

    Raises:
        ValueError: It has adapters already.
    """
    model.requires_grad_(False)
    for layer in adapted_layers(model.config, lora.targets):
        module = model.get_submodule(layer.name)
        if type(module) is not nn.Linear:
            raise ValueError(f"{layer.name} has an adapter already; merge the adapters first")
        _adapt(module, layer, lora)
    return model


def _adapt(module: nn.Linear, layer: AdaptedLayer, lora: LoraConfig) -> None:
    shape_a, shape_b = layer.factor_shapes(lora.rank)
    module.__class__ = LoraLinear  # as in `fuse`: names of parameters stay
    adapted = cast(LoraLinear, module)
    adapted.parts, adapted.rank = layer.parts, lora.rank
    adapted.scale, adapted.lora_dropout = lora.alpha / lora.rank, lora.dropout
    adapted.lora_a = nn.Parameter(module.weight.new_empty(shape_a))
    adapted.lora_b = nn.Parameter(module.weight.new_zeros(shape_b))
    nn.init.kaiming_uniform_(adapted.lora_a, a=math.sqrt(5))


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters that are not merged."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


@torch.no_grad()
def merge_adapters(model: GPTModel) -> GPTModel:
    """Return `model` with its adapters added to the weights, and gone; it computes the same."""
    for module in model.modules():
        if isinstance(module, LoraLinear):
            module.weight.add_(
                _product(module.lora_a, module.lora_b, module.parts), alpha=module.scale
            )
            del module.lora_a, module.lora_b
            cast(nn.Module, module).__class__ = nn.Linear
    return model.requires_grad_()


def merged_weights(
    weights: Mapping[str, Tensor], model: TransformerConfig, lora: LoraConfig | None
) -> dict[str, Tensor]:
    """Return the weights of a model without adapters that computes the same.

    Args:
        weights: by name, those of the adapters among them; unchanged.
        model: whose they are.
        lora: its adapters; None where there are none.
    """
    if lora is None:
        return dict(weights)
    factors = (FACTOR_A, FACTOR_B)
    merged = {name: tensor for name, tensor in weights.items() if not name.endswith(factors)}
    for layer in adapted_layers(model, lora.targets):
        if layer.factor_a not in weights:
            continue  # merged before they were saved
        product = _product(weights[layer.factor_a], weights[layer.factor_b], layer.parts)
        name = f"{layer.name}.weight"
        merged[name] = torch.add(weights[name], product, alpha=lora.alpha / lora.rank)
    return merged


def _product(a: Tensor, b: Tensor, parts: Sequence[Part]) -> Tensor:
    """Return B A, [out, in]; zeros in the rows of parts without an adapter."""
    rows = [part.rows for part in parts if part.adapted]
    pairs = iter(zip(torch.split(b, rows), torch.split(a, b.shape[1]), strict=True))
    return torch.cat(
        [
            torch.mm(*next(pairs)) if part.adapted else a.new_zeros(part.rows, a.shape[1])
            for part in parts
        ]
    )
