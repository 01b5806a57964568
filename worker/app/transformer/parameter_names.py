"""The names and shapes of a model's parameters, without the model. Never imports torch."""

from __future__ import annotations

from app.transformer.config import TransformerConfig

EMBEDDING, HEAD = "token_embedding.weight", "lm_head.weight"
"""Where they are tied, a model has the first alone, which is both."""

Shapes = dict[str, tuple[int, ...]]


def parameter_names(config: TransformerConfig) -> list[str]:
    """Return the names of the parameters of a model of this configuration, in its order."""
    return list(parameter_shapes(config))


def parameter_shapes(config: TransformerConfig) -> Shapes:
    """Return the shape of each parameter by name, in the order of the model."""
    hidden = config.hidden_size
    shapes: Shapes = {EMBEDDING: (config.vocab_size, hidden)}
    if config.ngram_size > 1:
        shapes["ngram_embedding.weight"] = (config.ngram_table_rows, hidden)
    if config.position_encoding_type == "learned":
        shapes["position_embedding.weight"] = (config.max_position_embeddings, hidden)
    in_block = _block(config)
    for number in range(config.num_layers):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in in_block.items()}
    shapes |= _norm("final_norm", config)
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def _block(config: TransformerConfig) -> Shapes:
    hidden, attention, inner = config.hidden_size, config.attention_size, config.mlp_size
    qkv = attention + 2 * config.key_value_heads * config.head_size
    up = inner * (2 if config.activation == "swiglu" else 1)
    shapes: Shapes = {"mix": (2,)} if config.mix_in_embedding else {}
    shapes |= _norm("attention_norm", config)
    shapes |= _linear("attention.qkv", (qkv, hidden), config.has_qkv_bias)
    shapes |= _linear("attention.output", (hidden, attention), config.bias)
    if config.qk_norm_weights:
        of_head = (config.head_size,)
        shapes |= {"attention.query_norm.weight": of_head, "attention.key_norm.weight": of_head}
    shapes |= _norm("mlp_norm", config)
    shapes |= _linear("mlp.up", (up, hidden), config.bias)
    return shapes | _linear("mlp.output", (hidden, inner), config.bias)


def _norm(name: str, config: TransformerConfig) -> Shapes:
    biased = config.bias and config.layer_norm_type == "layer_norm"
    return _linear(name, (config.hidden_size,), biased)


def _linear(name: str, shape: tuple[int, ...], biased: bool) -> Shapes:
    weight: Shapes = {f"{name}.weight": shape}
    return weight | {f"{name}.bias": shape[:1]} if biased else weight
