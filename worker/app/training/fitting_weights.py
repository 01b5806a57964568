"""Whether given weights are those of the model that a run describes. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from app.training.config import TrainingConfig
from app.training.initial_weights import MODEL_FIELDS_FREE_TO_CHANGE, refused
from app.transformer.config import TransformerConfig
from app.transformer.parameter_names import EMBEDDING, HEAD, parameter_shapes

_VOCABULARY = (EMBEDDING, HEAD)
_MOST_NAMED = 10


def require_fit(
    config: TrainingConfig,
    weights: TransformerConfig,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Raise one `ConfigError` that lists each tensor and field that does not fit.

    Args:
        config: of the run; all of its model is known.
        weights: the configuration of their model.
        shapes: of their tensors; None takes those that the configuration tells.
    """
    ours = parameter_shapes(config.model_config)
    theirs = parameter_shapes(weights) if shapes is None else dict(shapes)
    problems = [
        f"{name} is {_shown(theirs.get(name))} there and {_shown(ours.get(name))} here"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name) and not _is_resized(config, name, ours, theirs)
    ]
    if not problems:
        problems = _other_fields(config.model_config, weights)
    if not problems:
        return
    more = len(problems) - _MOST_NAMED
    listed = "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
    remedy = "leave the model_config out to take theirs"
    if not config.resize_vocabulary and all(each.startswith(_VOCABULARY) for each in problems):
        remedy = "set `resize_vocabulary: true` to resize it, or leave vocab_size out"
    raise refused(config.initial_weights or "", f"it does not fit: {listed}; {remedy}")


def _is_resized(
    config: TrainingConfig,
    name: str,
    ours: Mapping[str, tuple[int, ...]],
    theirs: Mapping[str, tuple[int, ...]],
) -> bool:
    if not config.resize_vocabulary or name not in _VOCABULARY:
        return False
    if config.model_config.ngram_size > 1:
        return False  # the rows of its n-grams depend on the size of the vocabulary
    return name in ours and name in theirs and ours[name][1:] == theirs[name][1:]


def _other_fields(ours: TransformerConfig, theirs: TransformerConfig) -> list[str]:
    """Return what is computed otherwise from tensors of the same shapes."""
    free = {*MODEL_FIELDS_FREE_TO_CHANGE, "vocab_size"}
    if ours.position_encoding_type != "learned":
        free.add("max_position_embeddings")
    one, other = (_spelled_out(config) for config in (ours, theirs))
    return [
        f"`{name}` is {other[name]!r} there and {value!r} here"
        for name, value in one.items()
        if name not in free and value != other[name]
    ]


def _spelled_out(config: TransformerConfig) -> dict[str, Any]:
    """Return all fields, with defaults that follow from others filled in."""
    return dataclasses.asdict(config) | {
        "num_kv_heads": config.key_value_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.mlp_size,
        "qkv_bias": config.has_qkv_bias,
    }


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
