"""The layers between attentions: norms and the MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.transformer.config import TransformerConfig


class LayerNorm(nn.Module):
    """Layer norm over the last dimension, with a weight and, if asked for, a bias."""

    def __init__(self, size: int, epsilon: float, *, bias: bool) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019) over the last dimension, with a weight."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.epsilon, self.weight)


def rms_norm(x: Tensor, epsilon: float, weight: Tensor | None = None) -> Tensor:
    """RMS norm over the last dimension."""
    return F.rms_norm(x, x.shape[-1:], weight, epsilon)


def build_norm(config: TransformerConfig) -> nn.Module:
    """Return the norm that `layer_norm_type` names, as wide as the residual stream."""
    if config.layer_norm_type == "rms_norm":
        return RMSNorm(config.hidden_size, config.norm_epsilon)
    return LayerNorm(config.hidden_size, config.norm_epsilon, bias=config.bias)


class MLP(nn.Module):
    """Widen, apply the activation, narrow: [..., hidden] -> [..., hidden].

    With "swiglu" the widening projection holds the gate in its first half: one product of twice
    the width is faster than two.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        widening = 2 if config.activation == "swiglu" else 1
        self.up = nn.Linear(config.hidden_size, widening * config.mlp_size, bias=config.bias)
        self.output = nn.Linear(config.mlp_size, config.hidden_size, bias=config.bias)
        self.dropout_rate = config.dropout_rate

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self._transform(x), self.dropout_rate, self.training)

    def _transform(self, x: Tensor) -> Tensor:
        narrowed: Tensor = self.output(activate(self.up(x), self.activation))
        return narrowed


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply a non-linearity by its configured name; "swiglu" halves the last dimension."""
    if activation == "gelu_approximate":
        return F.gelu(x, approximate="tanh")
    if activation == "gelu":
        return F.gelu(x)
    if activation == "relu":
        return F.relu(x)
    if activation == "relu_squared":
        return F.relu(x).square()
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value
