"""`GPTModel`: size, causality, loss, gradients and initial weights, for every variant."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from tiny_model import TINY, VARIANTS, build, tokens

from app.transformer import ConfigError, GPTModel, TransformerConfig, fuse
from app.transformer.parameter_names import parameter_shapes


def real_count(config: TransformerConfig) -> int:
    """Return the model's parameters, whose shapes are those that are known without it."""
    with torch.device("meta"):
        named = dict(GPTModel(config).named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in named.items()}
    assert list(shapes.items()) == list(parameter_shapes(config).items())
    return sum(parameter.numel() for parameter in named.values())


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
    with_tables = TransformerConfig.from_dict(TINY | {"ngram_size": 4, "ngram_rows": 7})
    assert with_tables.num_parameters() == real_count(with_tables)
    rarer = {"mix_in_embedding": True, "qk_norm": True, "qk_norm_weights": True, "qkv_bias": False}
    others = TransformerConfig.from_dict(TINY | rarer)
    assert others.num_parameters() == real_count(others)


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


@pytest.mark.parametrize("is_fused", [False, True])
@pytest.mark.parametrize("fields", VARIANTS)
def test_documents_in_one_row_do_not_see_each_other(fields: dict[str, Any], is_fused: bool) -> None:
    model, rows = build(**fields), tokens(time=16)
    model = fuse(model) if is_fused else model
    positions = torch.cat((torch.arange(5), torch.arange(1), torch.arange(10)))
    packed = model(rows, positions=positions.expand(3, -1))[0]
    for first, last in ((0, 5), (5, 6), (6, 16)):
        torch.testing.assert_close(packed[:, first:last], model(rows[:, first:last])[0])


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


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_checkpointed_gradients_are_bitwise_the_same(position: str) -> None:
    model, batch = build(dropout_rate=0.2, position_encoding_type=position), tokens()
    positions = torch.cat((torch.arange(9), torch.arange(7))).expand(3, -1)

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        _, loss = model(batch[:, :-1], batch[:, 1:], positions=positions)
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
