"""Export and import: `transformers` computes the same logits from the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from app.transformer import GPTModel, TransformerConfig
from app.transformer.export import ExportOptions, NotRepresentableError
from app.transformer.huggingface import UnsupportedModelError, export_model, from_pretrained

LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "bias": False,
}
SCALING = {
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 8,
}


def build(**fields: Any) -> GPTModel:
    torch.manual_seed(3)
    config = {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 24,
        "initializer_range": 0.2,
    }
    model = GPTModel(TransformerConfig(**{**config, **fields})).eval()
    with torch.no_grad():  # biases and norms away from where they start, or they test nothing
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def tokens() -> torch.Tensor:
    return torch.randint(0, 61, (2, 24), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": "gelu", "tie_word_embeddings": False},
        {"activation": "relu", "intermediate_size": 40, "dropout_rate": 0.1},
        LLAMA,
        LLAMA | {"num_kv_heads": 2, "tie_word_embeddings": False, "intermediate_size": 40},
        LLAMA | {"bias": True, "head_dim": 6, "norm_epsilon": 1e-3, "rope_theta": 100.0},
        LLAMA | {"rope_scaling": SCALING, "num_kv_heads": 1},
        LLAMA | {"qkv_bias": True, "num_kv_heads": 2},
        LLAMA | {"head_dim": 10, "num_heads": 3, "num_kv_heads": 1},
        LLAMA | {"qk_norm": True},
        LLAMA | {"qk_norm": True, "qk_norm_weights": True, "head_dim": 12, "num_kv_heads": 2},
    ],
)
@torch.no_grad()
def test_exported_model_gives_the_same_logits(tmp_path: Path, fields: dict[str, Any]) -> None:
    model = build(**fields)
    export_model(model, tmp_path / "out")
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    theirs.eval()
    torch.testing.assert_close(theirs(tokens()).logits, model(tokens())[0], rtol=0, atol=1e-4)
    again = from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(again(tokens())[0], model(tokens())[0], rtol=0, atol=1e-5)
    assert sum(p.numel() for p in theirs.parameters()) == again.config.num_parameters()
    assert sum(p.numel() for p in again.parameters()) == again.config.num_parameters()


def their_gpt2(**fields: Any) -> Any:
    torch.manual_seed(4)
    config = GPT2Config(
        vocab_size=61,
        n_positions=24,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
        **fields,
    )
    model: Any = GPT2LMHeadModel(config)
    return model.eval()


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "n_inner": 40}])
@torch.no_grad()
def test_imported_gpt2_gives_the_same_logits(tmp_path: Path, fields: dict[str, Any]) -> None:
    theirs = their_gpt2(**fields)
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path).eval()
    torch.testing.assert_close(ours(tokens())[0], theirs(tokens()).logits, rtol=0, atol=1e-4)
    assert ours.config.tie_word_embeddings is fields.get("tie_word_embeddings", True)


@torch.no_grad()
def test_import_from_a_state_dict_and_from_a_pickled_file(tmp_path: Path) -> None:
    theirs = their_gpt2()
    expected = theirs(tokens()).logits
    from_memory = from_pretrained(theirs.state_dict(), theirs.config.to_dict()).eval()
    torch.testing.assert_close(from_memory(tokens())[0], expected, rtol=0, atol=1e-4)
    theirs.config.save_pretrained(tmp_path)
    bare = {name.removeprefix("transformer."): t for name, t in theirs.state_dict().items()}
    torch.save(bare, tmp_path / "pytorch_model.bin")
    from_file = from_pretrained(tmp_path).eval()
    torch.testing.assert_close(from_file(tokens())[0], expected, rtol=0, atol=1e-4)


def test_losses_agree_with_shifted_labels() -> None:
    theirs, batch = their_gpt2(), tokens()
    ours = from_pretrained(theirs.state_dict(), theirs.config.to_dict()).eval()
    _, loss = ours(batch[:, :-1], batch[:, 1:])
    torch.testing.assert_close(loss, theirs(batch, labels=batch).loss)


def test_further_files_go_along(tmp_path: Path) -> None:
    files = export_model(build(), tmp_path / "out", ExportOptions(texts={"tokenizer.json": "{}"}))
    assert [file.name for file in files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())


@pytest.mark.parametrize("fields", [{}, LLAMA | {"tie_word_embeddings": False}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@torch.no_grad()
def test_shards_of_any_type_hold_the_same_model(
    tmp_path: Path, fields: dict[str, Any], dtype: torch.dtype
) -> None:
    model = build(**fields)
    options = ExportOptions(dtype, shard_bytes=9_000)
    *shards, index = export_model(model, tmp_path / "out", options)[1:]
    assert index.name == "model.safetensors.index.json"
    largest = max(p.numel() for p in model.parameters()) * dtype.itemsize
    assert all(shard.stat().st_size <= max(9_000, largest) + 3_000 for shard in shards)
    assert shards[-1].name == f"model-{len(shards):05}-of-{len(shards):05}.safetensors"
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=dtype)
    assert {p.dtype for p in theirs.parameters()} == {dtype}
    expected: Any = AutoModelForCausalLM.from_pretrained(
        export_model(model, tmp_path / "whole")[0].parent
    )
    for name, tensor in expected.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor.to(dtype)), name
    described = json.loads(index.read_text())
    assert described["metadata"]["total_size"] == sum(
        tensor.numel() * dtype.itemsize
        for name, tensor in expected.state_dict().items()
        if name in described["weight_map"]
    )


def test_a_weight_beyond_the_type_is_refused(tmp_path: Path) -> None:
    model = build()
    with torch.no_grad():
        model.final_norm.weight[3] = -1e5
    with pytest.raises(NotRepresentableError) as caught:
        export_model(model, tmp_path / "out", ExportOptions(torch.float16))
    assert str(caught.value) == (
        "tensor 'transformer.ln_f.weight' has a weight of 100000; float16 has numbers up to 65504; "
        "take bfloat16 or float32"
    )
    assert list((tmp_path / "out").iterdir()) == []


MIXED = {"mix_in_embedding": True}


def test_other_forms_are_refused_by_field(tmp_path: Path) -> None:
    model = build(**LLAMA | {"activation": "relu_squared", "qk_norm": True})
    with pytest.raises(UnsupportedModelError) as caught:
        export_model(model, tmp_path / "out")
    assert str(caught.value) == (
        "this model has no Hugging Face equivalent: position_encoding_type='rotary', "
        "layer_norm_type='rms_norm', activation='relu_squared', qk_norm=True, bias=False is not "
        "GPT-2's form, and activation='relu_squared' is not Llama's, Qwen2's or Qwen3's; train one "
        "of these forms to export it"
    )
    odd = {"bias": True, "head_dim": 10, "num_heads": 3}
    with pytest.raises(UnsupportedModelError, match="`head_dim` is 10 and `bias` is true; a Llama"):
        export_model(build(**LLAMA | odd), tmp_path / "out")
    for ours, name in (({"ngram_size": 2}, "ngram_size=2"), (MIXED, "mix_in_embedding=True")):
        with pytest.raises(UnsupportedModelError, match=f"and {name} is not Llama's"):
            export_model(build(**LLAMA | ours), tmp_path / "out")
    assert not (tmp_path / "out").exists()
