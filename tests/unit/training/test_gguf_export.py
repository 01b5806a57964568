"""GGUF files, read back by the reader of the `gguf` package and by `transformers`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.data.chat_template import CHATML, ChatTemplate
from app.training.gguf_export import _without_marks, export_gguf
from app.training.tokenizer import ByteTokenizer, CharTokenizer, PretrainedTokenizer, Tokenizer
from app.training.tokenizer_export import exported
from app.training.tokenizer_training import train_bpe
from app.transformer.config import TransformerConfig
from app.transformer.huggingface import their_tensors
from app.transformer.model import GPTModel
from training_engine.cli.app import app

LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "bias": False,
    "num_kv_heads": 2,
}
CONTEXT = "original_max_position_embeddings"


def bpe() -> PretrainedTokenizer:
    text = ["The quick brown fox jumps over the lazy dog. " * 9]
    special = ["<|im_start|>", "<|im_end|>"]
    return PretrainedTokenizer(train_bpe(text, 300, special_tokens=special).definition)


def save(path: Path, tokenizer: Tokenizer, template: str | None = None, **fields: Any) -> GPTModel:
    """Write a checkpoint of a random model with more ids than the tokenizer."""
    shape = {
        "vocab_size": tokenizer.vocab_size + 30, "hidden_size": 64, "num_layers": 2,
        "num_heads": 4, "max_position_embeddings": 64, "intermediate_size": 160,
    }  # fmt: skip
    config = TransformerConfig.from_dict(shape | fields)
    torch.manual_seed(3)
    model = GPTModel(config)
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": TrainingConfig(model_config=config).to_dict(),
        "timestamp": time.time(),
        "tokenizer": tokenizer.to_dict(),
        "chat_template": ChatTemplate(template, {}).to_dict() if template else None,
    }
    write_checkpoint(path, state)
    return model.eval()


def run(checkpoint: Path, output: Path, *options: str) -> Any:
    arguments = ["export", str(checkpoint), "--output", str(output), "--format", "gguf", *options]
    return CliRunner().invoke(app, arguments)


def fields_of(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


@pytest.mark.parametrize(
    "fields", [{}, LLAMA, LLAMA | {"qk_norm": True}], ids=["gpt2", "llama", "qwen3"]
)
@pytest.mark.parametrize(("quantization", "difference"), [("f16", 1e-4), ("q8_0", 2e-3)])
def test_the_reader_finds_every_weight(
    tmp_path: Path, fields: dict[str, Any], quantization: str, difference: float
) -> None:
    model = save(tmp_path / "c.pt", bpe(), **fields)
    out = tmp_path / "model.gguf"
    result = run(tmp_path / "c.pt", out, "--quantization", quantization)
    assert result.exit_code == 0, result.output
    tensors = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(out).tensors}
    theirs = dict(their_tensors(model))
    assert len(tensors) == len(theirs)
    embedding = tensors["token_embd.weight"]
    expected = next(iter(theirs.values())).numpy()[: bpe().vocab_size]
    np.testing.assert_allclose(embedding, expected, atol=difference, rtol=0)
    # As a set of numbers: in a Llama the rows of queries and keys have another order.
    found = np.sort(np.concatenate([each.ravel() for each in tensors.values()]))
    ours = torch.cat([t.flatten() for t in theirs.values()]).numpy()
    assert abs(found.sum() - ours.sum()) < 1
    assert found.size == ours.size - 30 * 64


# transformers 5.23 takes heads of 128 dimensions for every Qwen3, whatever the file says.
@pytest.mark.parametrize(
    "fields", [LLAMA, LLAMA | {"qk_norm": True, "head_dim": 128}], ids=["llama", "qwen3"]
)
@torch.no_grad()
def test_transformers_computes_the_same_from_it(tmp_path: Path, fields: dict[str, Any]) -> None:
    model = save(tmp_path / "c.pt", bpe(), **fields)
    assert run(tmp_path / "c.pt", tmp_path / "model.gguf").exit_code == 0
    theirs: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    ).eval()
    ids = torch.randint(0, bpe().vocab_size, (2, 24), generator=torch.Generator().manual_seed(5))
    expected = model(ids)[0][..., : bpe().vocab_size]
    torch.testing.assert_close(theirs(ids).logits, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("padded", [0, 340], ids=["whole", "padded"])
def test_tokenizer_and_modelfile(tmp_path: Path, padded: int) -> None:
    tokenizer = PretrainedTokenizer(exported(bpe(), padded).definition)
    save(tmp_path / "c.pt", tokenizer, template=CHATML)
    assert run(tmp_path / "c.pt", tmp_path / "model.gguf").exit_code == 0
    fields = fields_of(tmp_path / "model.gguf")
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == tokenizer.vocab_size
    assert [tokenizer.id_of(token) for token in tokens] == list(range(len(tokens)))
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert fields["tokenizer.ggml.pre"] == "qwen2"
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.end_of_text_id
    assert not fields["tokenizer.ggml.add_bos_token"]
    assert "generation" not in fields["tokenizer.chat_template"].replace(
        "add_generation_prompt", ""
    )
    modelfile = (tmp_path / "Modelfile").read_text()
    assert "FROM ./model.gguf\n" in modelfile
    assert "<|im_start|>{{ .Role }}" in modelfile
    assert 'PARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|im_end|>"\n' in modelfile
    assert fields["tokenizer.ggml.eot_token_id"] == tokenizer.id_of("<|im_end|>")
    save(tmp_path / "c.pt", ByteTokenizer())
    assert run(tmp_path / "c.pt", tmp_path / "model.gguf").exit_code == 0, "ours is replaced"
    assert len(fields_of(tmp_path / "model.gguf")["tokenizer.ggml.tokens"]) == 256
    assert 'TEMPLATE """{{ .Prompt }}"""' in (tmp_path / "Modelfile").read_text()
    latin = os.fsdecode(b"m\xe9.gguf")
    export_gguf(tmp_path / "c.pt", tmp_path / latin)
    assert fields_of(tmp_path / latin)["general.name"] == "m?"
    assert b"FROM ./m\xe9.gguf\n" in (tmp_path / "Modelfile").read_bytes()


def test_stops_are_written_as_they_are(tmp_path: Path) -> None:
    """Ollama knows no escapes between the quotes of a Modelfile."""
    end, answered = "<｜end▁of▁sentence｜>", '<"turn\\">'
    special = [end, answered]
    trained = train_bpe(["The fox. " * 9], 300, special_tokens=special).definition
    template = (
        "{% for m in messages %}{{ m.content + '"
        + answered.replace("\\", "\\\\")
        + "' }}{% endfor %}"
    )
    tokenizer = PretrainedTokenizer(trained, "t", {"eos_token": end})
    save(tmp_path / "c.pt", tokenizer, template=template)
    export_gguf(tmp_path / "c.pt", tmp_path / "model.gguf")
    written = (tmp_path / "Modelfile").read_text()
    assert f'PARAMETER stop "{end}"\nPARAMETER stop "{answered}"\n' in written
    assert "TEMPLATE" not in written
    found = fields_of(tmp_path / "model.gguf")
    assert found["tokenizer.ggml.eot_token_id"] == tokenizer.id_of(answered)


def test_a_template_without_marks_writes_the_same() -> None:
    source = "{%- generation -%}a{%- endgeneration %}{% if add_generation_prompt %}b{% endif %}"
    assert _without_marks(source) == (
        "{%- if true -%}a{%- endif %}{% if add_generation_prompt %}b{% endif %}"
    )


def test_what_has_no_form_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "model.gguf"
    save(tmp_path / "c.pt", CharTokenizer("abc"))
    assert "the tokenizer `char` has no form in GGUF" in run(tmp_path / "c.pt", out).stderr
    save(tmp_path / "c.pt", bpe(), activation="gelu")
    assert "activation='gelu' is not what llama.cpp computes" in run(tmp_path / "c.pt", out).stderr
    qwen3, scaled = LLAMA | {"qk_norm": True}, {"factor": 8.0}
    save(tmp_path / "c.pt", bpe(), **qwen3, rope_scaling=scaled | {CONTEXT: 32})
    assert "llama.cpp computes for a qwen3, which is none" in run(tmp_path / "c.pt", out).stderr
    save(tmp_path / "c.pt", bpe(), **LLAMA, qkv_bias=True, head_dim=32)
    assert "head_dim=32 is not what llama.cpp computes" in run(tmp_path / "c.pt", out).stderr
    alone = tokenizers.Tokenizer.from_str(bpe().definition)
    alone.add_tokens([tokenizers.AddedToken("tail", single_word=True)])
    save(tmp_path / "c.pt", PretrainedTokenizer(alone.to_str()))
    assert "and finds its added tokens everywhere" in run(tmp_path / "c.pt", out).stderr
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".pt"]
    save(tmp_path / "c.pt", bpe())
    for option, value in (("--dtype", "float16"), ("--max-shard-gb", "1")):
        refused = run(tmp_path / "c.pt", out, option, value)
        assert refused.exit_code == 2
        assert option in refused.stderr
    out.write_bytes(b"somebody's")
    refused = run(tmp_path / "c.pt", out)
    assert refused.exit_code == 4
    assert "no export of this engine wrote it" in refused.stderr
    assert out.read_bytes() == b"somebody's"


def test_a_weight_beyond_float16_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "c.pt", bpe(), initializer_range=3e4)
    refused = run(tmp_path / "c.pt", tmp_path / "model.gguf")
    assert refused.exit_code == 1
    assert "error: tensor 'token_embd.weight' has a weight of " in refused.stderr
    assert "float16 has numbers up to 65504; take --quantization q8_0" in refused.stderr
    assert not list(tmp_path.glob("*model.gguf*"))
    out = tmp_path / "model.gguf"
    assert run(tmp_path / "c.pt", out, "--quantization", "q8_0").exit_code == 0
