"""`GPTModel`: size, causality, loss, gradients and initial weights, for every variant."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.transformer import ConfigError, GPTModel, TransformerConfig, cpu_kernels
from app.transformer.attention import CausalSelfAttention
from app.transformer.layers import MLP, activate

TINY: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "max_position_embeddings": 16,
    "initializer_range": 0.2,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"position_encoding_type": "sinusoidal", "activation": "relu", "bias": False},
    {"position_encoding_type": "rotary", "activation": "gelu", "tie_word_embeddings": False},
    {"position_encoding_type": "rotary", "layer_norm_type": "rms_norm", "activation": "swiglu"},
    {"position_encoding_type": "rotary", "qk_norm": True, "num_kv_heads": 2},
    {"activation": "relu_squared", "qk_norm": True, "num_kv_heads": 1, "intermediate_size": 40},
]


def build(**fields: Any) -> GPTModel:
    torch.manual_seed(3)
    return GPTModel(TransformerConfig(**{**TINY, **fields}))


def tokens(batch: int = 3, time: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, TINY["vocab_size"], (batch, time), generator=generator)


def real_count(config: TransformerConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPTModel(config).parameters())


def test_gpt2_small_has_its_published_size() -> None:
    assert real_count(TransformerConfig()) == 124_439_808


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_formula_counts_what_the_model_has(position: str) -> None:
    for norm, activation, kv_heads, tied, bias, size in itertools.product(
        ["layer_norm", "rms_norm"],
        ["gelu_approximate", "swiglu"],
        [None, 2],
        [True, False],
        [True, False],
        [None, 40],
    ):
        config = TransformerConfig.from_dict(
            TINY
            | {
                "position_encoding_type": position,
                "layer_norm_type": norm,
                "activation": activation,
                "num_kv_heads": kv_heads,
                "tie_word_embeddings": tied,
                "bias": bias,
                "intermediate_size": size,
            }
        )
        assert config.num_parameters() == real_count(config)


def test_invalid_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="it must divide hidden_size=32; try 4 or 8"):
        build(num_heads=5)


@pytest.mark.parametrize("fields", VARIANTS)
def test_a_position_sees_itself_and_what_is_before(fields: dict[str, Any]) -> None:
    model, inputs = build(**fields), tokens(time=12)
    changed = inputs.clone()
    changed[:, 7] = (changed[:, 7] + 1) % TINY["vocab_size"]
    before, after = model(inputs)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("fields", VARIANTS)
def test_order_of_earlier_tokens_matters(fields: dict[str, Any]) -> None:
    model, inputs = build(**fields), tokens(time=8)
    swapped = inputs.clone()
    swapped[:, [1, 4]] = inputs[:, [4, 1]]
    assert (model(inputs)[0][:, -1] - model(swapped)[0][:, -1]).abs().max() > 1e-4


def test_loss_is_cross_entropy_of_labels_that_count() -> None:
    model, batch = build(), tokens()
    inputs, labels = batch[:, :-1], batch[:, 1:].clone()
    labels[0, 3:] = -100
    logits, mean = model(inputs, labels)
    _, total = model(inputs, labels, reduction="sum")
    expected = -logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    expected = expected[labels >= 0]
    torch.testing.assert_close(total, expected.sum())
    torch.testing.assert_close(mean, expected.mean())
    assert model(inputs)[1] is None


@pytest.mark.parametrize("fields", VARIANTS)
def test_gradients_equal_those_of_plain_operations(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = build(**fields), tokens()

    def gradients() -> list[torch.Tensor]:
        _, loss = model(batch[:, :-1], batch[:, 1:])
        return list(torch.autograd.grad(loss, list(model.parameters())))

    composed = gradients()
    monkeypatch.setattr(cpu_kernels, "applies_to", lambda _: False)
    for ours, plain in zip(composed, gradients(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


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


def test_a_layer_in_place_of_a_plain_one_keeps_its_own_forward() -> None:
    class Silent(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*x.shape[:-1], self.out_features)

    x = torch.randn(2, 3, TINY["hidden_size"])
    for part in (MLP(TransformerConfig(**TINY)), CausalSelfAttention(TransformerConfig(**TINY))):
        assert part(x).abs().min() > 0
        part.output = Silent(part.output.in_features, part.output.out_features)
        assert torch.equal(part(x), torch.zeros_like(x))


def test_hooks_on_layers_are_called() -> None:
    model, called = build(), []
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for name, layer in linear.items():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    model(tokens(time=4))
    assert sorted(called) == sorted(linear)
    assert len(called) >= 4


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


def test_long_contexts_take_the_blockwise_kernel_and_agree() -> None:
    length = cpu_kernels.LONGEST_SHORT_CONTEXT
    model = build(max_position_embeddings=length + 1, num_layers=1)
    inputs = tokens(1, length + 1)
    torch.testing.assert_close(model(inputs)[0][:, :length], model(inputs[:, :length])[0])


def test_checkpointed_gradients_are_bitwise_the_same() -> None:
    model, batch = build(dropout_rate=0.2), tokens()

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        _, loss = model(batch[:, :-1], batch[:, 1:])
        return list(torch.autograd.grad(loss, list(model.parameters())))

    plain = gradients()
    model.enable_gradient_checkpointing()
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))


def test_dropout_acts_in_training_only() -> None:
    model, inputs = build(dropout_rate=0.3), tokens(time=8)
    assert not torch.equal(model(inputs)[0], model(inputs)[0])
    model.eval()
    assert torch.equal(model(inputs)[0], model(inputs)[0])


def test_autocast_runs_in_bfloat16_and_stays_close() -> None:
    model, batch = build(), tokens()
    exact = model(batch[:, :-1])[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, loss = model(batch[:, :-1], batch[:, 1:])
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.25
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_initial_weights_have_gpt2s_deviations() -> None:
    torch.manual_seed(0)
    model = GPTModel(TransformerConfig(vocab_size=500, hidden_size=128, num_layers=8, num_heads=4))
    block: Any = model.blocks[5]
    assert model.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert block.mlp.up.weight.std().item() == pytest.approx(0.02, rel=0.03)
    for output in (block.attention.output, block.mlp.output):
        assert output.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.03)
        assert torch.equal(output.bias, torch.zeros(128))
    assert torch.equal(block.mlp_norm.weight, torch.ones(128))


def test_zero_initialised_blocks_are_the_identity() -> None:
    model = build(zero_init_output_projections=True, tie_word_embeddings=False)
    inputs = tokens(time=8)
    embedded = model.token_embedding(inputs) + model.position_embedding.weight[:8]
    assert torch.equal(model.hidden_states(inputs), model.final_norm(embedded))
    _, loss = model(inputs, inputs)
    assert loss.item() == pytest.approx(math.log(61), rel=1e-6)


def test_state_dict_has_plain_keys_and_no_tables() -> None:
    tied = build(position_encoding_type="rotary", layer_norm_type="rms_norm", bias=False)
    assert sorted(name for name in tied.state_dict() if ".1." not in name) == [
        "blocks.0.attention.output.weight",
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention_norm.weight",
        "blocks.0.mlp.output.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp_norm.weight",
        "final_norm.weight",
        "token_embedding.weight",
    ]
    assert "lm_head.weight" in build(tie_word_embeddings=False).state_dict()


def test_context_too_long_is_refused() -> None:
    message = (
        "the context is 17 tokens; it must be at most max_position_embeddings=16; "
        "shorten the input or train a longer model"
    )
    with pytest.raises(ValueError, match=message):
        build()(tokens())
