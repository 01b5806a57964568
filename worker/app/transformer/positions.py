"""Positions without parameters: sinusoids that are added, rotations that are applied."""

from __future__ import annotations

import torch
from torch import Tensor

ROTARY_BASE = 10000.0
"""Slowest wavelength over 2 pi, as in both papers and in Llama's `rope_theta` default."""


def _angles(length: int, size: int) -> Tensor:
    """Position times frequency, [length, size / 2], in float64: float32 loses far positions."""
    exponents = torch.arange(0, size, 2, dtype=torch.float64) / size
    return torch.outer(torch.arange(length, dtype=torch.float64), ROTARY_BASE**-exponents)


def sinusoidal_table(length: int, size: int) -> Tensor:
    """Sines in even columns, cosines in odd ones (Vaswani et al. 2017), [length, size]."""
    angles = _angles(length, size)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


def rotary_table(length: int, head_dim: int) -> Tensor:
    """Cosines and signed sines for `rotate`, [2, length, head_dim].

    In Llama's layout, dimension i turns with dimension i + head_dim / 2.
    """
    angles = _angles(length, head_dim)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each head of `x` [..., time, head_dim] by its position's angles (Su et al. 2021).

    `table` is the [2, time, head_dim] part of `rotary_table` for these positions.
    """
    table = table.to(x.dtype)
    return x * table[0] + x.roll(x.shape[-1] // 2, dims=-1) * table[1]
