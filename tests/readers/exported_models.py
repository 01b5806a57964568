"""Small random models of each family, their exports, and what we calculate with them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.export import export_checkpoint
from app.training.gguf_export import export_gguf
from app.training.inference import load_trained
from app.training.measured_data import measure_data
from app.training.tokenizer import PretrainedTokenizer
from app.training.tokenizer_training import train_bpe
from app.transformer.config import TransformerConfig
from app.transformer.model import GPTModel

TEXT = "The quick brown fox jumps\n over 12 the lazy dog's é🙂 tail. "
NEW_TOKENS = 64
_LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "bias": False,
    "num_kv_heads": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": _LLAMA,
    "llama3": {
        **_LLAMA,
        "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 64},
        "tie_word_embeddings": False,
    },
    "llama_with_biases": {**_LLAMA, "bias": True, "rope_theta": 500_000.0},
    "mistral": {**_LLAMA, "num_heads": 6, "head_dim": 16},
    "qwen2": {**_LLAMA, "qkv_bias": True},
    "qwen3": {**_LLAMA, "qk_norm": True, "qk_norm_weights": True, "head_dim": 32},
}


def write_models(folder: Path) -> Path:
    """Write `NAME.hf`, `NAME.gguf/` and `NAME.json`, with what is expected, of each family."""
    folder.mkdir(exist_ok=True)
    learnt = [TEXT * 3 + "Pack my box with five dozen liquor jugs! " * 9]
    tokenizer = PretrainedTokenizer(train_bpe(learnt, 320).definition)
    (folder / "documents.json").write_text(json.dumps([{"text": text} for text in documents()]))
    for name, fields in FAMILIES.items():
        checkpoint = folder / f"{name}.pt"
        model = _save(checkpoint, tokenizer, fields)
        export_checkpoint(checkpoint, folder / f"{name}.hf")
        export_gguf(checkpoint, folder / f"{name}.gguf" / "model.gguf")
        export_gguf(checkpoint, folder / f"{name}.gguf" / "q8_0.gguf", quantization="q8_0")
        ids = tokenizer.encode(TEXT).tolist()
        expected = {
            "text": TEXT,
            "ids": ids,
            "logits": _logits(model, ids, tokenizer.vocab_size).tolist(),
            "greedy": _greedy(model, ids, tokenizer.vocab_size),
            "documents": _loss(checkpoint, folder / "documents.json"),
        }
        (folder / f"{name}.json").write_text(json.dumps(expected))
    return folder


def documents() -> list[str]:
    """Texts to measure; the last one is longer than the models' context."""
    return [TEXT * number + "Pack my box!" for number in (1, 2, 40)]


def _save(path: Path, tokenizer: PretrainedTokenizer, fields: dict[str, Any]) -> GPTModel:
    shape = {
        "vocab_size": tokenizer.vocab_size + 6,  # rows without an id, as padding leaves them
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 256,
        "intermediate_size": 160,
        "initializer_range": 0.06,
    }
    config = TransformerConfig.from_dict(shape | fields)
    torch.manual_seed(3)
    model = GPTModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases are trained values, too
                parameter.add_(torch.randn_like(parameter) * 0.2)
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": TrainingConfig(model_config=config).to_dict(),
        "timestamp": time.time(),
        "tokenizer": tokenizer.to_dict(),
    }
    write_checkpoint(path, state)
    return model.eval()


@torch.no_grad()
def _logits(model: GPTModel, ids: list[int], size: int) -> Tensor:
    logits: Tensor = model(torch.tensor([ids]))[0]
    return logits[0, :, :size]


def _greedy(model: GPTModel, ids: list[int], size: int) -> list[int]:
    taken = list(ids)
    for _ in range(NEW_TOKENS):
        taken.append(int(_logits(model, taken, size)[-1].argmax()))
    return taken[len(ids) :]


def _loss(checkpoint: Path, documents: Path) -> dict[str, Any]:
    """Our evaluation of all documents, each alone."""
    return asdict(measure_data(load_trained(checkpoint), documents, separate_documents=True))
