"""A model of a few thousand parameters in every variant, and tokens for it."""

from __future__ import annotations

from typing import Any

import torch

from app.transformer import GPTModel, TransformerConfig

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
    {
        "position_encoding_type": "rotary",
        "layer_norm_type": "rms_norm",
        "qk_norm": True,
        "qk_norm_weights": True,
        "head_dim": 10,
        "qkv_bias": False,
        "num_kv_heads": 2,
    },
    {"ngram_size": 3, "ngram_rows": 50},
    {"mix_in_embedding": True},
]


def build(**fields: Any) -> GPTModel:
    torch.manual_seed(3)
    model = GPTModel(TransformerConfig(**{**TINY, **fields}))
    if model.ngram_embedding is not None:  # which begins at zero
        torch.nn.init.normal_(model.ngram_embedding.weight)
    if model.config.mix_in_embedding:  # which begins as if it were not there
        for name, parameter in model.named_parameters():
            if name.endswith(".mix"):
                torch.nn.init.normal_(parameter)
    return model


def tokens(batch: int = 3, time: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, TINY["vocab_size"], (batch, time), generator=generator)
