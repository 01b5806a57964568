"""The model that a `config.json` describes: its family, and our configuration of it.

What is of another family, or computes something that no model of ours does, is refused by the name
that its field has there. Never imports torch.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Mapping
from typing import Any, cast

from app.transformer.config import RopeScaling, TransformerConfig
from app.transformer.errors import ConfigError, UnsupportedModelError
from app.transformer.families import FAMILIES, GPT2_ACTIVATIONS, Family
from app.transformer.fields import shown

_GPT2_NEEDED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_GPT2_ALIASES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
}
"""Names in GPT-2's config.json, and those that `transformers` takes for them too."""
_KEY_VALUE_HEADS: Mapping[str, int | None] = {
    "llama": None, "mistral": 8, "qwen2": 32, "qwen3": 32,
}  # fmt: skip
"""Where config.json does not say; None is one for each query head."""
_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "intermediate_size": "n_inner",
    "norm_epsilon": "layer_norm_epsilon",
    "dropout_rate": "resid_pdrop",
}
_LLAMA_NAMES = {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "norm_epsilon": "rms_norm_eps",
}
_CUSTOMARY_EPSILONS = (1e-5, 1e-6, 1e-8)
_ABSENT = object()
_CORRECT = "correct its config.json, or copy the model again"
_OTHER_MODEL = "take another model"


def read_description(description: Mapping[str, Any]) -> tuple[Family, TransformerConfig]:
    """Return the family and our configuration of the model that a config.json describes.

    Raises:
        UnsupportedModelError: It is of another family, or computes what no model of ours does;
            the message names the field.
    """
    family = description.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(map(repr, FAMILIES))
        raise _refused(description, "model_type", f"one of {known} can be imported", _OTHER_MODEL)
    if description.get("quantization_config") is not None:
        raise UnsupportedModelError(
            "`quantization_config` is set: the weights are quantized; import the model from which "
            "they were made"
        )
    _require_value(description, "is_causal", True)
    values = _from_gpt2(description) if family == "gpt2" else _from_llama(description, family)
    values["vocab_size"] = _integer(description, "vocab_size")
    values["initializer_range"] = _number(description, "initializer_range", 0.02)
    values["tie_word_embeddings"] = _flag(description, "tie_word_embeddings", family == "gpt2")
    try:
        config = TransformerConfig.from_dict(values)
        config.validate()
    except ConfigError as error:
        names = _GPT2_NAMES if family == "gpt2" else _LLAMA_NAMES
        rules = "; ".join(_in_their_words(str(problem), names) for problem in error.problems)
        rule = f"its config.json describes no model that can be imported: {rules}; {_CORRECT}"
        raise UnsupportedModelError(rule) from None
    return cast("Family", family), config


def _in_their_words(message: str, names: Mapping[str, str]) -> str:
    """Return the message about a field of ours with the names that config.json has."""
    for ours, theirs in names.items():
        message = re.sub(rf"\b{ours}\b", theirs, message)
    return message


def _from_gpt2(given: Mapping[str, Any]) -> dict[str, Any]:
    description = _without_aliases(given)
    activations = {theirs: ours for ours, theirs in GPT2_ACTIVATIONS.items()}
    activations["gelu_pytorch_tanh"] = "gelu_approximate"
    activation = description.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in activations:
        rule = f"one of {', '.join(sorted(activations))} can be imported"
        raise _refused(description, "activation_function", rule, _OTHER_MODEL)
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


def _without_aliases(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a GPT-2's description by the names that it usually has."""
    usual = dict(description)
    for name, alias in _GPT2_ALIASES.items():
        if alias not in usual:
            continue
        if usual.setdefault(name, usual[alias]) != usual[alias]:
            rule = f"it is another name of `{name}`, which is {shown(usual[name])}"
            raise _refused(description, alias, rule)
    return usual


def _from_llama(description: Mapping[str, Any], family: str) -> dict[str, Any]:
    if description.get("hidden_act", "silu") not in ("silu", "swish"):
        raise _refused(description, "hidden_act", "only 'silu' can be imported", _OTHER_MODEL)
    hidden, heads = (_integer(description, name) for name in ("hidden_size", "num_attention_heads"))
    context = _integer(description, "max_position_embeddings")
    _check_windows(description, family, context)
    head_dim = _integer(description, "head_dim", 128 if family == "qwen3" else None)
    keys = "num_key_value_heads"
    by_default = None if keys in description else _KEY_VALUE_HEADS[family]
    return {
        "hidden_size": hidden,
        "num_layers": _integer(description, "num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": _integer(description, keys, by_default),
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
            raise _refused(
                description, "attention_bias", "only false can be imported", _OTHER_MODEL
            )
        return {"bias": False}
    if _flag(description, "mlp_bias", False) != attention:
        rule = f"`attention_bias` is {attention}, and only the same for both can be imported"
        raise _refused(description, "mlp_bias", rule, _OTHER_MODEL)
    return {"bias": attention}


def _check_windows(description: Mapping[str, Any], family: str, context: int) -> None:
    """Refuse sliding windows: attention that sees only a part of the context."""
    if not _has_windows(description, family):
        return
    window = description.get("sliding_window", 4096)
    if window is not None and (not _is_integer(window) or window < context):
        rule = f"only null, or at least max_position_embeddings={context}, can be imported"
        remedy = "a smaller max_position_embeddings in its config.json limits it to such contexts"
        raise _refused({"sliding_window": window}, "sliding_window", rule, remedy)


def _has_windows(description: Mapping[str, Any], family: str) -> bool:
    """Whether `sliding_window`, where it is set, is that of any layer."""
    if family in ("llama", "mistral"):
        return family == "mistral"  # in each layer, whatever its `layer_types` are
    if not _flag(description, "use_sliding_window", False):
        return False
    kinds = description.get("layer_types")
    if kinds is None:
        first = description.get("max_window_layers", 28)
        if not _is_integer(first):
            raise _refused(description, "max_window_layers", "it must be a whole number")
        return bool(first < _integer(description, "num_hidden_layers"))
    if not isinstance(kinds, list):
        raise _refused(description, "layer_types", "it must be a list")
    return any(kind != "full_attention" for kind in kinds)


def _rotations(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of rotary positions: transformers 5 has them in one block, 4 in two."""
    scaling = _block(description, "rope_scaling") or _block(description, "rope_parameters")
    theta = scaling if "rope_theta" in scaling else description
    for place in (scaling, description):
        if place.get("partial_rotary_factor") is not None:
            _require_value(place, "partial_rotary_factor", 1.0)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    values: dict[str, Any] = {"rope_theta": _number(theta, "rope_theta", 10000.0)}
    if kind == "default":
        return values
    if kind != "llama3":
        rule = "only 'default' and 'llama3' can be imported"
        raise _refused({"rope_type": kind}, "rope_type", rule, _OTHER_MODEL)
    original = "original_max_position_embeddings"
    numbers = {
        field.name: _number(scaling, field.name)
        for field in dataclasses.fields(RopeScaling)
        if field.name != original
    }
    # The first of these that is there, as in `transformers`.
    context = _integer(description, "max_position_embeddings")
    before = _integer(description, original, _integer(scaling, original, context))
    return values | {"rope_scaling": numbers | {original: before}}


def _block(description: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a block of rotary positions; empty where there is none."""
    block = description.get(name) or {}
    if not isinstance(block, Mapping):
        raise _refused(description, name, "it must be a mapping")
    if kinds := [key for key, value in block.items() if isinstance(value, Mapping)]:
        rule = f"it has rotations of their own for {', '.join(kinds)}, and only one for all layers"
        raise _refused(description, name, f"{rule} can be imported", _OTHER_MODEL)
    return block


def _require_value(description: Mapping[str, Any], name: str, needed: object) -> None:
    if description.get(name, needed) != needed:
        raise _refused(description, name, f"only {needed!r} can be imported", _OTHER_MODEL)


def _integer(description: Mapping[str, Any], name: str, default: Any = _ABSENT) -> Any:
    value = _value(description, name, default)
    if value is not default and not (_is_integer(value) and value > 0):
        raise _refused(description, name, "it must be a whole number above 0")
    return value


def _number(description: Mapping[str, Any], name: str, default: Any = _ABSENT) -> float:
    value = _value(description, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(description, name, "it must be a number")
    try:
        return float(value)
    except OverflowError:
        raise _refused(description, name, "it must be a number below 1e308") from None


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
        raise UnsupportedModelError(
            f"its config.json has no `{name}`, which a model needs; {_CORRECT}"
        )
    return default if value is None else value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refused(
    description: Mapping[str, Any], name: str, rule: str, remedy: str = _CORRECT
) -> UnsupportedModelError:
    return UnsupportedModelError(f"`{name}` is {shown(description.get(name))}; {rule}; {remedy}")
