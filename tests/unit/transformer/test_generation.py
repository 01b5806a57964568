"""Generation: the cache changes nothing, the draws obey their settings, nothing leaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.transformer import GPTModel, TransformerConfig, decoding
from app.transformer.attention import LayerCache
from app.transformer.decoding import Decoder
from app.transformer.row_decoding import RowDecoder, build_decoder
from app.transformer.sampling import Sampling

VARIANTS: list[dict[str, Any]] = [
    {},
    {"position_encoding_type": "sinusoidal"},
    {"position_encoding_type": "rotary", "qk_norm": True},
    {"position_encoding_type": "rotary", "num_kv_heads": 2, "activation": "swiglu"},
    {"num_kv_heads": 1, "layer_norm_type": "rms_norm"},
    {"bias": False, "tie_word_embeddings": False, "activation": "relu_squared"},
    {"ngram_size": 3, "ngram_rows": 50},
    {"mix_in_embedding": True},
]


def build(**fields: Any) -> GPTModel:
    torch.manual_seed(3)
    config = {
        "vocab_size": 31,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 12,
        "initializer_range": 0.3,
    }
    model = GPTModel(TransformerConfig(**{**config, **fields}))
    if model.ngram_embedding is not None:  # which begins at zero
        torch.nn.init.normal_(model.ngram_embedding.weight)
    if model.config.mix_in_embedding:  # which begins as if it were not there
        for name, parameter in model.named_parameters():
            if name.endswith(".mix"):
                torch.nn.init.normal_(parameter)
    return model


def prompt(batch: int = 2, time: int = 4) -> torch.Tensor:
    return torch.randint(0, 31, (batch, time), generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("fields", VARIANTS)
@pytest.mark.parametrize("pieces", [(1,) * 10, (4, 1, 1, 3, 1), (10,)])
@torch.no_grad()
def test_cached_logits_equal_cache_free_ones(
    fields: dict[str, Any], pieces: tuple[int, ...]
) -> None:
    model, inputs = build(**fields).eval(), prompt(time=10)
    caches = [LayerCache(12) for _ in model.blocks]
    cached: list[torch.Tensor] = []
    for part in torch.split(inputs, list(pieces), 1):
        before = inputs[:, : caches[0].length]
        cached.append(model.hidden_states(part, caches, before=before))
    torch.testing.assert_close(
        model.project(torch.cat(cached, 1)), model(inputs)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("kind", "batch"), [(Decoder, 1), (Decoder, 2), (RowDecoder, 1)])
@pytest.mark.parametrize("fields", VARIANTS)
@torch.no_grad()
def test_a_decoder_computes_what_the_model_does(
    fields: dict[str, Any], kind: type[Decoder], batch: int
) -> None:
    model, inputs = build(dropout_rate=0.5, **fields), prompt(batch, time=10)
    decoder = kind(model, inputs[:, :4])
    logits = [decoder.logits]
    for place in range(4, 10):
        decoder.append(inputs[:, place])
        logits.append(decoder.logits)
    assert decoder.length == 10
    assert model.training
    expected = model.eval()(inputs)[0][:, 3:]
    torch.testing.assert_close(torch.stack(logits, 1), expected, rtol=1e-5, atol=1e-5)


def test_numpy_decodes_single_rows_in_float32_alone() -> None:
    assert type(build_decoder(build(), prompt(1))) is RowDecoder
    assert type(build_decoder(build(), prompt(2))) is Decoder
    assert type(build_decoder(build().bfloat16(), prompt(1))) is Decoder


@torch.no_grad()
def test_a_long_prompt_goes_through_the_model_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_PREFILL_TOKENS", 4)
    model, inputs = build(ngram_size=4).eval(), prompt(time=11)
    expected = model(inputs)[0][:, -1]
    torch.testing.assert_close(Decoder(model, inputs).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", VARIANTS)
@torch.no_grad()
def test_greedy_generation_takes_the_most_likely_token(fields: dict[str, Any]) -> None:
    model, expected = build(**fields).eval(), prompt()
    result = model.generate(expected, 8, temperature=0)
    for _ in range(8):
        best = model(expected)[0][:, -1].argmax(-1, keepdim=True)
        expected = torch.cat((expected, best), 1)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("time", [4, 12, 30])
@torch.no_grad()
def test_a_full_context_goes_on_with_its_newer_half(time: int) -> None:
    model, expected = build().eval(), prompt(time=time)
    result = model.generate(expected, 20, temperature=0)
    seen = expected[:, -12:]
    for _ in range(20):
        best = model(seen)[0][:, -1].argmax(-1, keepdim=True)
        expected = torch.cat((expected, best), 1)
        seen = torch.cat((seen if seen.shape[1] < 12 else seen[:, -6:], best), 1)
    assert torch.equal(result, expected)


def test_a_context_of_one_token_works() -> None:
    assert build(max_position_embeddings=1).generate(prompt(), 5, seed=1).shape == (2, 9)


def test_same_seed_same_tokens_and_the_global_state_is_untouched() -> None:
    model, state = build(dropout_rate=0.5), torch.get_rng_state()
    first = model.generate(prompt(), 30, seed=7)
    assert torch.equal(first, model.generate(prompt(), 30, seed=7))
    assert not torch.equal(first, model.generate(prompt(), 30, seed=8))
    assert not torch.equal(model.generate(prompt(), 30), model.generate(prompt(), 30))
    assert torch.equal(state, torch.get_rng_state())
    assert model.training


def test_stream_yields_what_generate_returns() -> None:
    model, start = build(), prompt(1)
    whole = model.generate(start, 20, top_k=5, seed=7)[0, 4:].tolist()
    assert list(model.generate_stream(start, 20, top_k=5, seed=7)) == whole
    stop = whole[3]
    cut = whole[: whole.index(stop) + 1]
    assert list(model.generate_stream(start, 20, top_k=5, seed=7, stop_tokens=[stop])) == cut


def test_a_finished_row_repeats_its_stop_token() -> None:
    model, start = build(), prompt()
    free = model.generate(start, 15, seed=2)[:, 4:]
    stop = int(free[0, 2])
    result = model.generate(start, 15, seed=2, stop_tokens={stop})[:, 4:]
    ended = free[0].tolist().index(stop)
    assert result[0, ended:].tolist() == [stop] * (result.shape[1] - ended)


def draws(sampling: Sampling, logits: list[float]) -> set[int]:
    rows = torch.tensor(logits).repeat(4000, 1)
    return set(sampling.draw(rows, sampling.generator(rows.device)).tolist())


def test_top_k_and_top_p_keep_the_most_likely() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log().tolist()
    assert draws(Sampling(seed=1), logits) == {0, 1, 2, 3}
    assert draws(Sampling(top_k=2, seed=1), logits) == {1, 3}
    assert draws(Sampling(top_k=9, seed=1), logits) == {0, 1, 2, 3}
    assert draws(Sampling(top_p=0.7, seed=1), logits) == {1, 3}
    assert draws(Sampling(top_p=1e-9, seed=1), logits) == {1}
    assert draws(Sampling(temperature=1e-30, seed=1), logits) == {1}


def test_temperature_shapes_the_frequencies() -> None:
    rows = torch.tensor([0.2, 0.8]).log().repeat(20_000, 1)
    sampling = Sampling(temperature=2.0, seed=1)
    share = sampling.draw(rows, sampling.generator(rows.device)).float().mean().item()
    assert share == pytest.approx(2 / 3, abs=0.01)  # sqrt(0.8) / (sqrt(0.2) + sqrt(0.8))


@pytest.mark.parametrize(
    "arguments", [{"temperature": 5e-324}, {"temperature": 1e-40}, {"top_p": 5e-324}]
)
def test_the_smallest_settings_take_the_likeliest_token(arguments: dict[str, Any]) -> None:
    logits = torch.tensor([[0.1, 0.3, 0.2], [9.0, -9.0, 0.0]])
    sampling = Sampling(**arguments)
    assert sampling.draw(logits, sampling.generator(logits.device)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, "`temperature` is -1.0; it must be at least 0 and finite"),
        ({"temperature": float("inf")}, "`temperature` is inf; it must be at least 0 and finite"),
        ({"top_k": 0}, "`top_k` is 0; it must be at least 1"),
        ({"top_p": 0.0}, "`top_p` is 0.0; it must be above 0 and at most 1"),
        ({"seed": -1}, r"`seed` is -1; it must be at least 0 and below 2\^63"),
        ({"max_new_tokens": -1}, "`max_new_tokens` is -1; it must be at least 0"),
        (
            {"input_ids": torch.zeros(1, 0, dtype=torch.long)},
            r"`input_ids` is torch.int64 of shape \(1, 0\); it must be int64 \[batch, time\] with",
        ),
        (
            {"input_ids": torch.tensor([[1, 31]])},
            "`input_ids` holds token 31; tokens must be at least 0 and below vocab_size=31",
        ),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().generate(**{"input_ids": prompt(), "max_new_tokens": 3, **arguments})


def test_a_stream_refuses_a_batch() -> None:
    with pytest.raises(ValueError, match="a stream continues one row"):
        build().generate_stream(prompt(2), 3)
