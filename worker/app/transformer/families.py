"""The families of models that others write and load: their `config.json`, ours, and back.

`describe` returns the contents of config.json for a model of ours; `read_description` does the
reverse. Both refuse a model that would compute something else there, and name the field. Never
imports torch.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Any, Literal, cast

from app.transformer.config import RopeScaling, TransformerConfig
from app.transformer.errors import ConfigError, UnsupportedModelError
from app.transformer.fields import shown

Family = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3"]
FAMILIES: tuple[Family, ...] = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

_GPT2_ACTIVATIONS = {"gelu_approximate": "gelu_new", "gelu": "gelu", "relu": "relu"}
_GPT2_NEEDED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_CUSTOMARY_EPSILONS = (1e-5, 1e-6, 1e-8)
_ABSENT = object()


# -- ours to theirs --------------------------------------------------------------------------------


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
            "activation": config.activation in _GPT2_ACTIVATIONS,
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
    return {
        "architectures": [_ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": config.vocab_size,
        **fields,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        # Their defaults are ids of their own vocabularies, which another one does not have.
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _gpt2_fields(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_positions": config.max_position_embeddings,
        "n_ctx": config.max_position_embeddings,  # the older name, which some readers take
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_size,
        "activation_function": _GPT2_ACTIVATIONS[config.activation],
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
    if family == "llama":
        return fields | {"attention_bias": config.bias, "mlp_bias": config.bias}
    return fields | {"attention_bias": False, "use_sliding_window": False}


def _their_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    return None if scaling is None else {"rope_type": "llama3", **dataclasses.asdict(scaling)}


# -- theirs to ours --------------------------------------------------------------------------------


def read_description(description: Mapping[str, Any]) -> tuple[Family, TransformerConfig]:
    """Return the family and our configuration of the model that a config.json describes.

    Raises:
        UnsupportedModelError: It is of another family, or computes what no model of ours does;
            the message names the field.
    """
    family = description.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(map(repr, FAMILIES))
        raise _refused(description, "model_type", f"one of {known} can be imported")
    if description.get("quantization_config") is not None:
        raise UnsupportedModelError(
            "`quantization_config` is set: the weights are quantized; import the model from which "
            "they were made"
        )
    values = _from_gpt2(description) if family == "gpt2" else _from_llama(description, family)
    values["vocab_size"] = _integer(description, "vocab_size")
    values["initializer_range"] = _number(description, "initializer_range", 0.02)
    values["tie_word_embeddings"] = _flag(description, "tie_word_embeddings", family == "gpt2")
    try:
        config = TransformerConfig.from_dict(values)
        config.validate()
    except ConfigError as error:
        raise UnsupportedModelError(f"its config.json describes no model: {error}") from None
    return cast("Family", family), config


def _from_gpt2(description: Mapping[str, Any]) -> dict[str, Any]:
    activations = {theirs: ours for ours, theirs in _GPT2_ACTIVATIONS.items()}
    activations["gelu_pytorch_tanh"] = "gelu_approximate"
    activation = description.get("activation_function", "gelu_new")
    if activation not in activations:
        choices = ", ".join(sorted(activations))
        raise _refused(description, "activation_function", f"one of {choices} can be imported")
    for name, needed in _GPT2_NEEDED.items():
        _require_value(description, name, needed)
    return {
        "hidden_size": _integer(description, "n_embd", 768),
        "num_layers": _integer(description, "n_layer", 12),
        "num_heads": _integer(description, "n_head", 12),
        "intermediate_size": _integer(description, "n_inner", None),
        "max_position_embeddings": _integer(description, "n_positions", 1024),
        "activation": activations[activation],
        "norm_epsilon": _epsilon(description, "layer_norm_epsilon", 1e-5),
        "dropout_rate": _number(description, "resid_pdrop", 0.1),
    }


def _from_llama(description: Mapping[str, Any], family: str) -> dict[str, Any]:
    if description.get("hidden_act", "silu") not in ("silu", "swish"):
        raise _refused(description, "hidden_act", "only 'silu' can be imported")
    hidden, heads = (_integer(description, name) for name in ("hidden_size", "num_attention_heads"))
    context = _integer(description, "max_position_embeddings")
    _check_windows(description, family, context)
    head_dim = _integer(description, "head_dim", 128 if family == "qwen3" else None)
    return {
        "hidden_size": hidden,
        "num_layers": _integer(description, "num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": _integer(description, "num_key_value_heads", None),
        "head_dim": None if head_dim is None or head_dim * heads == hidden else head_dim,
        "intermediate_size": _integer(description, "intermediate_size"),
        "max_position_embeddings": context,
        "activation": "swiglu",
        "position_encoding_type": "rotary",
        "layer_norm_type": "rms_norm",
        "norm_epsilon": _epsilon(description, "rms_norm_eps", 1e-6),
        "qk_norm": family == "qwen3",
        "qk_norm_weights": family == "qwen3",
        **_biases(description, family),
        **_rotations(description),
    }


def _biases(description: Mapping[str, Any], family: str) -> dict[str, Any]:
    if family == "qwen2":
        return {"bias": False, "qkv_bias": True}
    attention = _flag(description, "attention_bias", False) if family != "mistral" else False
    if family != "llama":
        if attention:
            raise _refused(description, "attention_bias", "only false can be imported")
        return {"bias": False}
    if _flag(description, "mlp_bias", False) != attention:
        rule = f"only attention_bias={attention} as well can be imported"
        raise _refused(description, "mlp_bias", rule)
    return {"bias": attention}


def _check_windows(description: Mapping[str, Any], family: str, context: int) -> None:
    """Refuse sliding windows: attention that sees only a part of the context."""
    kinds = description.get("layer_types") or []
    slides = family == "mistral" or description.get("use_sliding_window") is True
    if family == "llama" or not slides or all(kind == "full_attention" for kind in kinds or ["?"]):
        return
    window = description.get("sliding_window", 4096)
    if window is not None and (not _is_integer(window) or window < context):
        rule = f"only null, or at least max_position_embeddings={context}, can be imported"
        remedy = "a smaller max_position_embeddings in its config.json limits it to such contexts"
        raise _refused({"sliding_window": window}, "sliding_window", f"{rule}; {remedy}")


def _rotations(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of rotary positions: transformers 5 has them in one block, 4 in two."""
    block = description.get("rope_parameters") or {}
    scaling = block or description.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        raise _refused(description, "rope_scaling", "it must be a mapping")
    theta = block if "rope_theta" in block else description
    for place in (scaling, description):
        _require_value(place, "partial_rotary_factor", 1.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    values: dict[str, Any] = {"rope_theta": _number(theta, "rope_theta", 10000.0)}
    if kind == "default":
        return values
    if kind != "llama3":
        raise _refused(
            {"rope_type": kind}, "rope_type", "only 'default' and 'llama3' can be imported"
        )
    fields = dataclasses.fields(RopeScaling)
    numbers = {field.name: _number(scaling, field.name) for field in fields}
    original = _integer(scaling, "original_max_position_embeddings")
    return values | {"rope_scaling": numbers | {"original_max_position_embeddings": original}}


def _require_value(description: Mapping[str, Any], name: str, needed: object) -> None:
    if description.get(name, needed) != needed:
        raise _refused(description, name, f"only {needed!r} can be imported")


def _integer(description: Mapping[str, Any], name: str, default: Any = _ABSENT) -> Any:
    value = _value(description, name, default)
    if value is not default and not (_is_integer(value) and value > 0):
        raise _refused(description, name, "it must be a whole number above 0")
    return value


def _number(description: Mapping[str, Any], name: str, default: Any = _ABSENT) -> float:
    value = _value(description, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(description, name, "it must be a number")
    return float(value)


def _flag(description: Mapping[str, Any], name: str, default: bool) -> bool:
    value = _value(description, name, default)
    if not isinstance(value, bool):
        raise _refused(description, name, "it must be true or false")
    return value


def _epsilon(description: Mapping[str, Any], name: str, default: float) -> float:
    """Return an epsilon; one that is a customary one in float32 becomes exactly that one.

    Formats that keep it in float32 give 1e-5 back as 9.999999747378752e-06.
    """
    value = _number(description, name, default)
    same = [each for each in _CUSTOMARY_EPSILONS if _float32(each) == _float32(value)]
    return same[0] if same else value


def _float32(value: float) -> bytes:
    try:
        return struct.pack("f", value)
    except OverflowError:
        return b""


def _value(description: Mapping[str, Any], name: str, default: Any) -> Any:
    value = description.get(name)
    if value is None and default is _ABSENT:
        raise UnsupportedModelError(f"its config.json has no `{name}`; is it of a whole model?")
    return default if value is None else value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refused(description: Mapping[str, Any], name: str, rule: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"`{name}` is {shown(description.get(name))}; {rule}")
