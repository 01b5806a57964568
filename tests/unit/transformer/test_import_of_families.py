"""Import of what `transformers` saved: the same logits for each family, or one clear refusal."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from app.transformer.errors import UnsupportedModelError
from app.transformer.huggingface import export_model, from_pretrained

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
}
GPT2 = GPT2Config(
    vocab_size=61, n_positions=24, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2,
    bos_token_id=None, eos_token_id=None,
)  # fmt: skip
WINDOWS = {
    "use_sliding_window": True, "sliding_window": 8, "layer_types": None, "max_window_layers": 1,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 8,
}
FAMILIES = {
    "gpt2": GPT2,
    "llama": LlamaConfig(**SIZES, rms_norm_eps=1e-3),
    "llama with biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=12),
    "llama 3": LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "smollm2": LlamaConfig(
        **SIZES | {"num_attention_heads": 8, "num_key_value_heads": 4},
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    ),
    "mistral": MistralConfig(**SIZES, sliding_window=None, head_dim=16),
    "mistral with a window of the context": MistralConfig(**SIZES, sliding_window=24),
    "mistral whose width is no multiple of its heads": MistralConfig(
        **SIZES | {"hidden_size": 34}, sliding_window=None, head_dim=12
    ),
    "qwen2": Qwen2Config(**SIZES, rms_norm_eps=1e-6, tie_word_embeddings=True),
    "qwen2 with a window for later layers": Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=2
    ),
    "qwen3": Qwen3Config(**SIZES, rms_norm_eps=1e-6, head_dim=16),
}


def tokens() -> torch.Tensor:
    return torch.randint(0, 61, (2, 24), generator=torch.Generator().manual_seed(5))


def random_model(config: Any) -> Any:
    """Return their model of this configuration, with norms and biases away from one and zero."""
    torch.manual_seed(4)
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_imported_model_gives_the_same_logits(tmp_path: Path, family: str) -> None:
    theirs = random_model(FAMILIES[family])
    theirs.save_pretrained(tmp_path / "in", max_shard_size="8KB")
    assert (tmp_path / "in/model.safetensors.index.json").exists()
    ours = from_pretrained(tmp_path / "in").eval()
    expected = theirs(tokens()).logits
    torch.testing.assert_close(ours(tokens())[0], expected, rtol=0, atol=1e-4)
    export_model(ours, tmp_path / "out")
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(again(tokens()).logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_is_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    random_model(FAMILIES["qwen3"]).to(dtype).save_pretrained(tmp_path)
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ours = from_pretrained(tmp_path).eval()
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    torch.testing.assert_close(ours(tokens())[0], theirs(tokens()).logits, rtol=0, atol=1e-4)


def folder_with(path: Path, change: dict[str, Any], family: str = "llama") -> Path:
    """Return a folder whose config.json says something else than its weights were saved with."""
    if not path.exists():
        random_model(FAMILIES[family]).save_pretrained(path)
    description = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(description | change))
    return path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kept", ["both, different", "both, equal", "embedding", "head"])
@torch.no_grad()
def test_the_file_decides_about_tying(tmp_path: Path, kept: str, tied: bool) -> None:
    folder = folder_with(tmp_path / "model", {"tie_word_embeddings": tied})
    weights = load_file(folder / "model.safetensors")
    if kept == "both, equal":
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    if kept in ("embedding", "head"):
        dropped = {"embedding": "lm_head.weight", "head": "model.embed_tokens.weight"}[kept]
        del weights[dropped]
        if not tied:  # they draw what is missing, with a warning
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
            with pytest.raises(UnsupportedModelError, match=f"{re.escape(dropped)} is missing"):
                from_pretrained(folder)
            return
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = from_pretrained(folder).eval()
    assert (ours.lm_head is None) == (tied and kept != "both, different")
    torch.testing.assert_close(ours(tokens())[0], theirs(tokens()).logits, rtol=0, atol=1e-4)


ROTATIONS = {"rope_parameters": None, "rope_scaling": None, "rope_theta": None}


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("gpt2", {"n_head": None, "num_attention_heads": 8}),
        ("llama", ROTATIONS | {"rope_scaling": LLAMA3, "rope_theta": 77.0}),
        ("llama", {"rope_scaling": LLAMA3 | {"rope_theta": 9.0}, "rope_theta": 77.0}),
        ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": None}}),
        ("llama", {"rope_parameters": LLAMA3, "original_max_position_embeddings": 16}),
        ("mistral", {"sliding_window": 24, "head_dim": None, "rms_norm_eps": None}),
    ],
)
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_fields_mean_what_they_mean_to_transformers(
    tmp_path: Path, family: str, change: dict[str, Any]
) -> None:
    if "head_dim" in change:
        random_model(MistralConfig(**SIZES)).save_pretrained(tmp_path / "model")
    folder = folder_with(tmp_path / "model", without_nulls(change), family)
    description = json.loads((folder / "config.json").read_text())
    kept = {n: v for n, v in description.items() if n not in change or change[n] is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = from_pretrained(folder).eval()
    torch.testing.assert_close(ours(tokens())[0], theirs(tokens()).logits, rtol=0, atol=1e-4)


def without_nulls(change: dict[str, Any]) -> dict[str, Any]:
    return {
        name: without_nulls(value) if isinstance(value, dict) else value
        for name, value in change.items()
        if value is not None
    }


def test_epsilons_are_compared_in_float32(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", {"rms_norm_eps": 9.999999747378752e-06})
    assert from_pretrained(folder).config.norm_epsilon == 1e-5


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("gpt2", {"activation_function": "silu"}, "`activation_function` is 'silu'; one of gelu"),
        ("gpt2", {"scale_attn_weights": False}, "`scale_attn_weights` is False; only True can"),
        ("gpt2", {"n_layer": 3}, "transformer.h.2.ln_1.weight is missing"),
        ("gpt2", {"n_embd": 48}, "c_attn.weight is [32, 96] and must be [48, 144] by config.json"),
        ("llama", {"model_type": "gemma2"}, "`model_type` is 'gemma2'; one of 'gpt2', 'llama'"),
        ("llama", {"hidden_act": "gelu"}, "`hidden_act` is 'gelu'; only 'silu'"),
        (
            "llama",
            {"num_hidden_layers": 65536},
            "describes 65536 layers, and the weights have 21 te",
        ),
        ("llama", {"hidden_size": "32"}, "`hidden_size` is '32'; it must be a whole number"),
        ("llama", {"hidden_size": None}, "its config.json has no `hidden_size`"),
        ("llama", {"num_hidden_layers": 1}, "q_proj.weight [32, 32] is not described by config"),
        ("llama", {"mlp_bias": True}, "`mlp_bias` is True; `attention_bias` is False, and only"),
        ("llama", {"rms_norm_eps": "tiny"}, "`rms_norm_eps` is 'tiny'; it must be a number"),
        ("llama", {"rms_norm_eps": 0}, "imported: `rms_norm_eps` is 0.0; it must be at least"),
        ("llama", {"num_key_value_heads": 3}, "`num_key_value_heads` is 3; it must divide num_att"),
        ("llama", {"rope_theta": 10**400, "rope_parameters": None}, "it must be a number below"),
        ("llama", {"rope_parameters": 5}, "`rope_parameters` is 5; it must be a mapping; correct"),
        (
            "qwen3",
            {"rope_parameters": {"full_attention": {"rope_theta": 5.0}}},
            "it has rotations of their own for full_attention",
        ),
        ("llama", {"is_causal": False}, "`is_causal` is False; only True can be imported; take an"),
        ("gpt2", {"activation_function": []}, "`activation_function` is []; one of gelu"),
        ("gpt2", {"num_attention_heads": 8}, "`num_attention_heads` is 8; it is another name of"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
            "`rope_type` is 'yarn'; only 'default' and 'llama3'",
        ),
        ("llama", {"rope_parameters": LLAMA3 | {"factor": 0.5}}, "rope_scaling.factor"),
        ("llama", {"partial_rotary_factor": 0.5}, "`partial_rotary_factor` is 0.5; only 1.0"),
        ("llama", {"quantization_config": {"quant_method": "awq"}}, "`quantization_config` is set"),
        ("mistral", {"sliding_window": 8}, "`sliding_window` is 8; only null, or at least"),
        (
            "mistral",
            {"sliding_window": 8, "layer_types": ["full_attention"] * 2},
            "is 8; only null",
        ),
        ("qwen2", WINDOWS, "`sliding_window` is 8; only null"),
        ("qwen2", WINDOWS | {"layer_types": 5}, "`layer_types` is 5; it must be a list; correct"),
        ("qwen2", WINDOWS | {"max_window_layers": []}, "`max_window_layers` is []; it must be a"),
        ("qwen3", {"attention_bias": True}, "`attention_bias` is True; only false"),
    ],
)
def test_foreign_models_are_refused_by_field(
    tmp_path: Path, family: str, change: dict[str, Any], message: str
) -> None:
    folder = folder_with(tmp_path / "model", change, family)
    with pytest.raises(UnsupportedModelError, match=re.escape(message)):
        from_pretrained(folder)


def sharded(path: Path) -> tuple[Path, dict[str, Any]]:
    random_model(GPT2).save_pretrained(path, max_shard_size="8KB")
    return path, json.loads((path / "model.safetensors.index.json").read_text())


def refusal(folder: Path) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        from_pretrained(folder)
    return str(caught.value)


def test_shards_and_index_must_fit(tmp_path: Path) -> None:
    folder, index = sharded(tmp_path / "model")
    path, places = folder / "model.safetensors.index.json", index["weight_map"]
    first, last = sorted(set(places.values()))[0], sorted(set(places.values()))[-1]
    path.write_text(json.dumps({"weight_map": places | {"transformer.wte.weight": "gone"}}))
    assert "names 'gone' for tensor 'transformer.wte.weight'; it must be a file" in refusal(folder)
    for gone in ("gone.safetensors", "a" * 300 + ".safetensors"):
        path.write_text(json.dumps({"weight_map": places | {"transformer.wte.weight": gone}}))
        assert f"names files that are not there: '{gone[:9]}" in refusal(folder)
    for name in ("../a.safetensors", "..", "", "config.json", 5):
        path.write_text(json.dumps({"weight_map": places | {"transformer.wte.weight": name}}))
        rule = f"{name!r} for tensor 'transformer.wte.weight'; it must be a file beside it whose"
        assert rule in refusal(folder)
    lacking = next(name for name, file in places.items() if file != last)
    path.write_text(json.dumps({"weight_map": places | {lacking: last}}))
    assert f"{last} lacks tensor {lacking!r}" in refusal(folder)
    path.write_text("[]")
    assert "holds no JSON object" in refusal(folder)
    path.write_text(json.dumps({"weight_map": places}))
    whole = (folder / first).read_bytes()
    damages = [whole[:-8], whole[:4], b"\xff" * 64, b"\x02" + bytes(7) + b"[]", whole + b"more"]
    for damaged in damages:
        (folder / first).write_bytes(damaged)
        assert f"{first} is not a whole safetensors file" in refusal(folder)
    (folder / first).unlink()
    assert f"names files that are not there: {first!r}; copy" in refusal(folder)
    (folder / "model.safetensors").symlink_to("../../blobs/0a")
    assert "model.safetensors is a link to '../../blobs/0a', which is not there" in refusal(folder)
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / first)
    assert f"{first} is not a whole safetensors file: it is not a regular file" in refusal(folder)


def test_a_folder_must_hold_a_model(tmp_path: Path) -> None:
    assert "has no config.json; name the folder of a Hugging Face model" in refusal(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in refusal(tmp_path)
    GPT2.save_pretrained(tmp_path)
    assert "neither model.safetensors nor pytorch_model.bin" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(tmp_path)


def test_quantized_tensors_are_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", {})
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name].to(torch.int8)
    save_file(weights, folder / "model.safetensors")
    assert f"{name} is of type I8; no weights have the type I8: where the model is" in refusal(
        folder
    )
    weights |= {"score.weight": torch.ones(3), "embed_tokens.weight": torch.ones(2)}
    save_file(weights, folder / "model.safetensors")
    twice = "hold embed_tokens.weight and model.embed_tokens.weight, which are two names of one"
    assert twice in refusal(folder)
    del weights["embed_tokens.weight"], weights[name]
    save_file(weights, folder / "model.safetensors")
    assert refusal(folder) == (
        "the weights are not those of the model that config.json describes: "
        f"{name} is missing; score.weight [3] is not described by config.json; copy the model "
        "again, all of its files together"
    )


def test_a_pickled_file_may_hold_only_tensors(tmp_path: Path) -> None:
    AutoConfig.for_model("gpt2", n_layer=1).save_pretrained(tmp_path)
    torch.save({"transformer.wte.weight": Path("code")}, tmp_path / "pytorch_model.bin")
    assert "holds more than tensors: pathlib.PosixPath, which is not executed; " in refusal(
        tmp_path
    )
    others: list[Any] = [[torch.ones(2)], {0: torch.ones(2)}, {"state_dict": {}}]
    for wrong in others:
        torch.save(wrong, tmp_path / "pytorch_model.bin")
        assert "is not a mapping of names to tensors; save the" in refusal(tmp_path)
    without_data = torch.empty(50257, 768, device="meta")
    torch.save({"wte.weight": without_data}, tmp_path / "pytorch_model.bin")
    assert "no weights have the type meta: where" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert "is damaged, or no file of torch (EOFError); save the model" in refusal(tmp_path)
