"""Export and import: `transformers` computes the same logits from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from app.transformer import GPTModel, TransformerConfig
from app.transformer.huggingface import UnsupportedModelError, export_model, from_gpt2

LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "bias": False,
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
    ],
)
@torch.no_grad()
def test_exported_model_gives_the_same_logits(tmp_path: Path, fields: dict[str, Any]) -> None:
    model = build(**fields)
    export_model(model, tmp_path / "out")
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    theirs.eval()
    torch.testing.assert_close(theirs(tokens()).logits, model(tokens())[0], rtol=0, atol=1e-4)
    assert sum(p.numel() for p in theirs.parameters()) == model.config.num_parameters()


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
    ours = from_gpt2(tmp_path).eval()
    torch.testing.assert_close(ours(tokens())[0], theirs(tokens()).logits, rtol=0, atol=1e-4)
    assert ours.config.tie_word_embeddings is fields.get("tie_word_embeddings", True)


@torch.no_grad()
def test_import_from_a_state_dict_and_from_a_pickled_file(tmp_path: Path) -> None:
    theirs = their_gpt2()
    expected = theirs(tokens()).logits
    from_memory = from_gpt2(theirs.state_dict(), theirs.config.to_dict()).eval()
    torch.testing.assert_close(from_memory(tokens())[0], expected, rtol=0, atol=1e-4)
    theirs.config.save_pretrained(tmp_path)
    bare = {name.removeprefix("transformer."): t for name, t in theirs.state_dict().items()}
    torch.save(bare, tmp_path / "pytorch_model.bin")
    from_file = from_gpt2(tmp_path).eval()
    torch.testing.assert_close(from_file(tokens())[0], expected, rtol=0, atol=1e-4)


def test_losses_agree_with_shifted_labels() -> None:
    theirs, batch = their_gpt2(), tokens()
    ours = from_gpt2(theirs.state_dict(), theirs.config.to_dict()).eval()
    _, loss = ours(batch[:, :-1], batch[:, 1:])
    torch.testing.assert_close(loss, theirs(batch, labels=batch).loss)


def test_tokenizer_files_go_along(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    export_model(build(), tmp_path / "out", [tmp_path / "tokenizer.json"])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_other_forms_are_refused_by_field(tmp_path: Path) -> None:
    model = build(**LLAMA | {"activation": "relu_squared", "qk_norm": True})
    with pytest.raises(UnsupportedModelError) as caught:
        export_model(model, tmp_path / "out")
    assert str(caught.value) == (
        "this model has no Hugging Face equivalent: position_encoding_type='rotary', "
        "layer_norm_type='rms_norm', activation='relu_squared', qk_norm=True, bias=False is not "
        "GPT-2's form, and activation='relu_squared', qk_norm=True is not Llama's; train one of "
        "these forms to export it"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "`model_type` is 'llama'; only 'gpt2' can be imported"),
        ({"activation_function": "silu"}, "`activation_function` is 'silu'; it must be one of"),
        ({"scale_attn_weights": False}, "`scale_attn_weights` is False; it must be True"),
        ({"n_layer": 3}, "tensors are missing, h.2.ln_1.weight first; is it a whole GPT-2?"),
    ],
)
def test_foreign_models_are_refused(change: dict[str, Any], message: str) -> None:
    theirs = their_gpt2()
    with pytest.raises(UnsupportedModelError, match=message):
        from_gpt2(theirs.state_dict(), theirs.config.to_dict() | change)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    their_gpt2().config.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor pytorch_"):
        from_gpt2(tmp_path)
