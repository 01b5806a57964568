"""Muon: updates are orthogonal, of each matrix alone, and everything else is left to AdamW."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.training import TrainingConfig
from app.training.errors import NonFiniteLossError
from app.training.muon import Matrix, Muon, orthogonalize
from app.training.stepping import DeferredGuard, build_optimizer
from app.transformer import GPTModel, TransformerConfig

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.5


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def optimizer_of(matrices: list[Matrix], others: list[nn.Parameter] | None = None) -> Muon:
    groups: list[dict[str, Any]] = [{"params": others or [nn.Parameter(torch.ones(3))]}]
    return Muon(matrices, groups, muon_lr=RATE, momentum=MOMENTUM, muon_weight_decay=DECAY, lr=0.01)


@pytest.mark.parametrize("columns", [32, 96])
@pytest.mark.parametrize(("iterations", "least", "most"), [(5, 0.85, 1.15), (3, 0.15, 1.9)])
def test_singular_vectors_stay_and_values_become_one(
    columns: int, iterations: int, least: float, most: float
) -> None:
    matrix = drawn(3, 32, columns)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    spectrum = left.mT @ orthogonalize(matrix, iterations) @ right.mT
    found = spectrum.diagonal(dim1=1, dim2=2)
    assert (spectrum - torch.diag_embed(found)).abs().max() < 1e-3
    large = values > values.amax(1, keepdim=True) / 100
    assert least < found[large].min()
    assert found.max() < most


def test_a_gradient_of_zeros_gives_no_update() -> None:
    assert torch.equal(orthogonalize(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_the_update_is_nesterov_momentum_of_each_part_made_orthogonal() -> None:
    """Two steps by hand: a fused matrix of three, a tall one of two, and a wide one."""
    shapes = {"qkv": (3 * 8, 8), "gated": (2 * 16, 8), "wide": (8, 16)}
    parts = {"qkv": (8, 8, 8), "gated": (16, 16), "wide": (8,)}
    weights = {name: nn.Parameter(drawn(*shape)) for name, shape in shapes.items()}
    expected = {name: weight.detach().clone() for name, weight in weights.items()}
    means = {name: torch.zeros(shape) for name, shape in shapes.items()}
    optimizer = optimizer_of([Matrix(weights[name], parts[name]) for name in shapes])
    for step in (1, 2):
        for name, weight in weights.items():
            gradient = drawn(*shapes[name], seed=10 * step)
            weight.grad = gradient.clone()
            means[name] = MOMENTUM * means[name] + (1 - MOMENTUM) * gradient
            ahead = MOMENTUM * means[name] + (1 - MOMENTUM) * gradient
            update = torch.cat([update_of(part) for part in torch.split(ahead, list(parts[name]))])
            expected[name] = expected[name] * (1 - RATE * DECAY) - RATE * update
        optimizer.step()
    for name, weight in weights.items():
        torch.testing.assert_close(weight.detach(), expected[name], rtol=0, atol=1e-4)


def update_of(matrix: Tensor) -> Tensor:
    rows, columns = matrix.shape
    if rows <= columns:
        return orthogonalize(matrix[None])[0]
    return orthogonalize(matrix.mT[None])[0].mT * math.sqrt(rows / columns)


def test_everything_else_is_adamw() -> None:
    ours, theirs = nn.Parameter(drawn(5)), nn.Parameter(drawn(5))
    matrix = nn.Parameter(drawn(4, 4))
    optimizer = optimizer_of([Matrix(matrix, (4,))], [ours])
    reference = torch.optim.AdamW([theirs], lr=0.01)
    for step in (1, 2):
        ours.grad, theirs.grad = drawn(5, seed=step), drawn(5, seed=step)
        matrix.grad = drawn(4, 4, seed=step)
        optimizer.step()
        reference.step()
    assert torch.equal(ours, theirs)


def test_only_matrices_of_blocks_are_muons() -> None:
    model = TransformerConfig(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1,
        max_position_embeddings=4, activation="swiglu", tie_word_embeddings=False,
    )  # fmt: skip
    config = TrainingConfig(model_config=model, optimizer_type="muon", weight_decay=0.25)
    module = GPTModel(model)
    optimizer = build_optimizer(module, config, torch.device("cpu"))
    assert isinstance(optimizer, Muon)
    names = {parameter: name for name, parameter in module.named_parameters()}
    parts = {names[matrix.parameter]: matrix.parts for matrix in optimizer._matrices}
    assert parts == {
        "blocks.0.attention.qkv.weight": (8, 4, 4),
        "blocks.0.attention.output.weight": (8,),
        "blocks.0.mlp.up.weight": (32, 32),
        "blocks.0.mlp.output.weight": (8,),
    }
    groups = [
        (group["lr"], group["weight_decay"], sum(p.numel() for p in group["params"]))
        for group in optimizer.param_groups
    ]
    assert [group[:2] for group in groups] == [(6e-4, 0.25), (6e-4, 0.0), (0.02, 0.25)]
    assert groups[2][2] == model.num_matrix_parameters()
    assert sum(group[2] for group in groups) == model.num_parameters()


def test_a_bad_step_and_all_after_it_change_nothing_on_a_device_that_is_not_waited_for() -> None:
    weight = nn.Parameter(drawn(4, 4))
    optimizer = optimizer_of([Matrix(weight, (4,))])
    guard = DeferredGuard(optimizer, torch.device("cpu"))
    values = []
    for step in (1, 2):
        weight.grad = torch.full((4, 4), math.nan) if step == 2 else drawn(4, 4)
        with suppress(NonFiniteLossError):
            guard.check(step, "here", torch.tensor(1.0), weight.grad.norm())
        optimizer.step()
        mean = optimizer.state[weight]["momentum_buffer"]
        values.append((weight.detach().clone(), mean.clone()))
    assert torch.equal(values[0][0], values[1][0])
    assert torch.equal(values[0][1], values[1][1])
    assert values[0][0].isfinite().all()


def test_a_model_without_matrices_is_refused() -> None:
    with pytest.raises(ValueError, match="Muon has no matrix to update; take AdamW"):
        optimizer_of([])
