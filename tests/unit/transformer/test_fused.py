"""The fused model: the plain one's values and gradients, its kernels' exactness, its limits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_model import TINY, VARIANTS, build, tokens
from torch import nn

from app.transformer import TransformerConfig, cpu_kernels, fuse
from app.transformer.attention import CausalSelfAttention
from app.transformer.layers import MLP, activate


@pytest.mark.parametrize("fields", VARIANTS)
def test_values_and_gradients_equal_those_of_plain_operations(fields: dict[str, Any]) -> None:
    plain, batch = build(**fields), tokens()
    fused = fuse(copy.deepcopy(plain))

    def outcome(model: nn.Module) -> list[torch.Tensor]:
        logits, loss = model(batch[:, :-1], batch[:, 1:])
        return [logits, *torch.autograd.grad(loss, list(model.parameters()))]

    for ours, theirs in zip(outcome(fused), outcome(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=3e-6)


def test_fusing_changes_no_name_and_can_be_repeated() -> None:
    plain = build()
    fused = fuse(fuse(copy.deepcopy(plain)))
    assert list(fused.state_dict()) == list(plain.state_dict())
    again = copy.deepcopy(fused)
    assert type(again.blocks[0].mlp) is type(fused.blocks[0].mlp) is not type(plain.blocks[0].mlp)
    batch = tokens(time=16)
    assert torch.equal(again(batch)[0], fused(batch)[0])


def test_the_kernels_run_in_a_fused_model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def record(name: str) -> None:
        kernel = getattr(cpu_kernels, name)

        def recorded(*arguments: Any, **more: Any) -> Any:
            calls.append(name)
            return kernel(*arguments, **more)

        monkeypatch.setattr(cpu_kernels, name, recorded)

    record("attention")
    record("mlp")
    model = build()
    model(tokens(time=16))
    assert calls == []
    fuse(model)(tokens(time=16))
    assert calls == ["attention", "mlp"] * len(model.blocks)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", sorted(cpu_kernels.FUSED_ACTIVATIONS))
def test_mlp_kernel_equals_pytorch_and_its_numeric_gradient(activation: str, bias: bool) -> None:
    torch.manual_seed(2)  # no value so near 0 that a numeric gradient would straddle it
    up, down = nn.Linear(6, 20, bias=bias), nn.Linear(20, 6, bias=bias)
    nn.init.normal_(up.weight, std=2.0)  # far out on both sides of the activation too
    x = torch.randn(3, 5, 6, requires_grad=True)
    inputs = [x, *up.parameters(), *down.parameters()]
    ours = cpu_kernels.mlp(x, up, down, activation)
    plain = down(activate(up(x), activation))
    torch.testing.assert_close(ours, plain)
    grad = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(plain, inputs, grad)
    )
    up.double(), down.double()
    doubles = [x.detach().double().requires_grad_(), *up.parameters(), *down.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: cpu_kernels.mlp(x, up, down, activation), doubles)


@pytest.mark.parametrize("weighted", [True, False])
def test_rms_norm_equals_pytorchs_values_and_gradients(weighted: bool) -> None:
    x = torch.randn(3, 5, 16, requires_grad=True)
    weight = torch.randn(16, requires_grad=True) if weighted else None
    inputs = [tensor for tensor in (x, weight) if tensor is not None]
    ours, plain = cpu_kernels.rms_norm(x, weight, 1e-5), F.rms_norm(x, (16,), weight, 1e-5)
    torch.testing.assert_close(ours, plain)
    grad = torch.randn_like(x)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(plain, inputs, grad)
    )
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(
        lambda x, weight=None: cpu_kernels.rms_norm(x, weight, 1e-5), doubles
    )


def test_attention_kernel_equals_pytorch_and_its_numeric_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = (
        torch.randn(2, 2, 5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(3)
    )
    torch.testing.assert_close(
        cpu_kernels.causal_attention(query, key, value),
        F.scaled_dot_product_attention(query, key, value, is_causal=True),
    )
    assert torch.autograd.gradcheck(cpu_kernels.causal_attention, (query, key, value))


@pytest.mark.parametrize("bias", [True, False])
def test_attention_with_its_projections_equals_pytorch_and_its_numeric_gradient(bias: bool) -> None:
    torch.manual_seed(3)
    qkv, output = nn.Linear(8, 24, bias=bias), nn.Linear(8, 8, bias=bias)
    x = torch.randn(3, 5, 8, requires_grad=True)
    inputs = [x, *qkv.parameters(), *output.parameters()]

    def plain(x: torch.Tensor) -> torch.Tensor:
        query, key, value = qkv(x).view(3, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return output(heads.transpose(1, 2).flatten(2))

    def ours(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return cpu_kernels.attention(x, qkv, output, num_heads=2)

    torch.testing.assert_close(ours(x), plain(x))
    grad = torch.randn_like(x)
    torch.testing.assert_close(
        torch.autograd.grad(ours(x), inputs, grad), torch.autograd.grad(plain(x), inputs, grad)
    )
    qkv.double(), output.double()
    doubles = [x.detach().double().requires_grad_(), *qkv.parameters(), *output.parameters()]
    assert torch.autograd.gradcheck(ours, doubles)


def test_a_layer_in_place_of_a_plain_one_keeps_its_own_forward() -> None:
    class Silent(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*x.shape[:-1], self.out_features)

    x = torch.randn(2, 3, TINY["hidden_size"])
    for layer in (MLP, CausalSelfAttention):
        part = fuse(layer(TransformerConfig(**TINY)))
        assert part(x).abs().min() > 0
        part.output = Silent(part.output.in_features, part.output.out_features)
        assert torch.equal(part(x), torch.zeros_like(x))


def test_hooks_on_layers_are_called() -> None:
    model, called = fuse(build()), []
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for name, layer in linear.items():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    model(tokens(time=4))
    assert sorted(called) == sorted(linear)
    assert len(called) >= 4


def test_long_contexts_take_the_blockwise_kernel_and_agree() -> None:
    length = cpu_kernels.LONGEST_SHORT_CONTEXT
    model = fuse(build(max_position_embeddings=length + 1, num_layers=1))
    inputs = tokens(1, length + 1)
    torch.testing.assert_close(model(inputs)[0][:, :length], model(inputs[:, :length])[0])
