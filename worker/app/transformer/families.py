"""The families of models that others load, and the `config.json` of a model of ours.

`described_model` reads what others wrote. Both refuse a model that would compute something else
there, and name the field. Never imports torch.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

from app.transformer.config import RopeScaling, TransformerConfig
from app.transformer.errors import UnsupportedModelError

Family = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3"]
FAMILIES: tuple[Family, ...] = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

GPT2_ACTIVATIONS: Final = {"gelu_approximate": "gelu_new", "gelu": "gelu", "relu": "relu"}
"""Our names of activations, and GPT-2's."""
_ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def family_of(config: TransformerConfig) -> Family:
    """Return the family that computes what a model of this configuration does.

    Raises:
        UnsupportedModelError: There is none; the message names the fields.
    """
    if not (of_gpt2 := _gpt2_obstacles(config)):
        return "gpt2"
    of_others = _llama_obstacles(config)
    if of_others:
        raise UnsupportedModelError(
            f"this model has no Hugging Face equivalent: {', '.join(of_gpt2)} is not GPT-2's form, "
            f"and {', '.join(of_others)} is not Llama's, Qwen2's or Qwen3's; train one of these "
            "forms to export it"
        )
    if config.qk_norm:
        return "qwen3"
    return "qwen2" if config.has_qkv_bias and not config.bias else "llama"


def _gpt2_obstacles(config: TransformerConfig) -> list[str]:
    """Return the fields, as `name=value`, that keep `config` from being a GPT-2."""
    return _misfits(
        config,
        {
            "position_encoding_type": config.position_encoding_type == "learned",
            "layer_norm_type": config.layer_norm_type == "layer_norm",
            "activation": config.activation in GPT2_ACTIVATIONS,
            "num_kv_heads": config.key_value_heads == config.num_heads,
            "head_dim": config.attention_size == config.hidden_size,
            "qk_norm": not config.qk_norm,
            "ngram_size": config.ngram_size == 1,
            "mix_in_embedding": not config.mix_in_embedding,
            "bias": config.bias,
            "qkv_bias": config.has_qkv_bias == config.bias,
        },
    )


def _llama_obstacles(config: TransformerConfig) -> list[str]:
    """Return the fields that keep `config` from being a Llama, Qwen2 or Qwen3."""
    return _misfits(
        config,
        {
            "position_encoding_type": config.position_encoding_type == "rotary",
            "layer_norm_type": config.layer_norm_type == "rms_norm",
            "activation": config.activation == "swiglu",
            "ngram_size": config.ngram_size == 1,
            "mix_in_embedding": not config.mix_in_embedding,
            "bias": not (config.bias and config.qk_norm),
            # Qwen2 has these biases alone; no family has all others.
            "qkv_bias": config.has_qkv_bias == config.bias
            or (config.has_qkv_bias and not config.qk_norm),
        },
    )


def _misfits(config: TransformerConfig, fits: dict[str, bool]) -> list[str]:
    return [f"{name}={getattr(config, name)!r}" for name, fit in fits.items() if not fit]


def describe(config: TransformerConfig) -> dict[str, Any]:
    """Return the contents of config.json for a model of this configuration.

    Raises:
        UnsupportedModelError: No family computes the same; the message names the fields.
    """
    family = family_of(config)
    fields = _gpt2_fields(config) if family == "gpt2" else _llama_fields(config, family)
    named = _named(config, family)
    return {
        "architectures": [_ARCHITECTURES[named]],
        "model_type": named,
        "vocab_size": config.vocab_size,
        **fields,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        # Their defaults are ids of their own vocabularies, which another one does not have.
        "bos_token_id": None,
        "eos_token_id": None,
        # Without it transformers warns that a tokenizer of more than 100,000 ids cuts words as
        # Mistral's once did: 4.57 for every family, 5 for Mistral's. See `findings/`.
        "transformers_version": "5.0.0",
    }


def _named(config: TransformerConfig, family: Family) -> Family:
    """Return the family that config.json names: `transformers` refuses some shapes of a Llama."""
    if family != "llama" or config.hidden_size % config.num_heads == 0:
        return family
    if config.bias:
        raise UnsupportedModelError(
            f"this model has no Hugging Face equivalent: `head_dim` is {config.head_dim} and "
            f"`bias` is true; a Llama's hidden_size={config.hidden_size} must be a multiple of "
            f"num_heads={config.num_heads}, and a Mistral has no biases; train one of these forms "
            "to export it"
        )
    return "mistral"  # computes the same


def _gpt2_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_positions": config.max_position_embeddings,
        "n_ctx": config.max_position_embeddings,  # the older name, which some readers take
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_size,
        "activation_function": GPT2_ACTIVATIONS[config.activation],
        "attn_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "resid_pdrop": config.dropout_rate,
        "layer_norm_epsilon": config.norm_epsilon,
    }


def _llama_fields(config: TransformerConfig, family: Family) -> dict[str, Any]:
    fields = {
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.mlp_size,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_scaling": _their_scaling(config.rope_scaling),
    }
    if _named(config, family) == "mistral":
        return fields | {"sliding_window": None}
    if family == "llama":
        return fields | {"attention_bias": config.bias, "mlp_bias": config.bias}
    return fields | {"attention_bias": False, "use_sliding_window": False}


def _their_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    return None if scaling is None else {"rope_type": "llama3", **dataclasses.asdict(scaling)}
