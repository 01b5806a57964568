"""Positions without parameters: sinusoids that are added, rotations that are applied."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from app.transformer.config import RopeScaling, TransformerConfig

_SINUSOID_BASE = 10000.0
"""Slowest wavelength over 2 pi, as in the paper."""


def _frequencies(size: int, base: float) -> Tensor:
    """Radians a position, [size / 2], in float64: float32 loses far positions."""
    return base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def _angles(length: int, frequencies: Tensor) -> Tensor:
    """Position times frequency, [length, size / 2]."""
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies)


def _stretched(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Return the frequencies of Llama 3.1, see `RopeScaling`."""
    turns = frequencies * scaling.original_max_position_embeddings / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def sinusoidal_table(length: int, size: int) -> Tensor:
    """Sines in even columns, cosines in odd ones (Vaswani et al. 2017), [length, size]."""
    angles = _angles(length, _frequencies(size, _SINUSOID_BASE))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


def rotary_table(config: TransformerConfig) -> Tensor:
    """Cosines and signed sines for `rotate`, [2, max_position_embeddings, head_dim].

    In Llama's layout, dimension i turns with dimension i + head_dim / 2.
    """
    frequencies = _frequencies(config.head_size, config.rope_theta)
    if config.rope_scaling is not None:
        frequencies = _stretched(frequencies, config.rope_scaling)
    angles = _angles(config.max_position_embeddings, frequencies)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each head of `x` [..., time, head_dim] by its position's angles (Su et al. 2021).

    `table` is the [2, time, head_dim] part of `rotary_table` for these positions.
    """
    table = table.to(x.dtype)
    return x * table[0] + x.roll(x.shape[-1] // 2, dims=-1) * table[1]
