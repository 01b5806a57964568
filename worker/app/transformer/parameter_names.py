"""The names of a model's parameters, without the model. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator

from app.transformer.config import TransformerConfig

EMBEDDING, HEAD = "token_embedding.weight", "lm_head.weight"
"""Where they are tied, a model has the first alone, which is both."""


def parameter_names(config: TransformerConfig) -> list[str]:
    """Return the names of the parameters of a model of this configuration, in its order."""
    outer = {
        EMBEDDING: True,
        "ngram_embedding.weight": config.ngram_size > 1,
        "position_embedding.weight": config.position_encoding_type == "learned",
    }
    names = [name for name, is_there in outer.items() if is_there]
    in_block = list(_block(config))
    names += [f"blocks.{number}.{name}" for number in range(config.num_layers) for name in in_block]
    names += _norm("final_norm", config)
    return names if config.tie_word_embeddings else [*names, HEAD]


def _block(config: TransformerConfig) -> Iterator[str]:
    if config.mix_in_embedding:
        yield "mix"
    yield from _norm("attention_norm", config)
    yield from _linear("attention.qkv", config.has_qkv_bias)
    yield from _linear("attention.output", config.bias)
    if config.qk_norm_weights:
        yield from ("attention.query_norm.weight", "attention.key_norm.weight")
    yield from _norm("mlp_norm", config)
    yield from _linear("mlp.up", config.bias)
    yield from _linear("mlp.output", config.bias)


def _norm(name: str, config: TransformerConfig) -> list[str]:
    return _linear(name, config.bias and config.layer_norm_type == "layer_norm")


def _linear(name: str, has_bias: bool) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"] if has_bias else [f"{name}.weight"]
