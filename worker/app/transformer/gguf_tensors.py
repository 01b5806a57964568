"""A model in GGUF's terms: its hyperparameters and its tensors, as llama.cpp computes with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from app.transformer.config import RopeScaling, TransformerConfig
from app.transformer.errors import UnsupportedModelError
from app.transformer.families import family_of
from app.transformer.huggingface import their_tensors
from app.transformer.model import GPTModel

if TYPE_CHECKING:
    import gguf

_ARCHITECTURES: Final = {
    "gpt2": "GPT2",
    "llama": "LLAMA",
    "qwen2": "QWEN2",
    "qwen3": "QWEN3",
}
_COMPUTED: Final = {
    "activation": "'gelu_approximate'",
    "rope_scaling": "none",
    "head_dim": "hidden_size / num_heads",
}
_TABLES: Final = ("transformer.wte.weight", "model.embed_tokens.weight", "lm_head.weight")
"""Tensors with a row for each id."""


def architecture(config: TransformerConfig) -> str:
    """Return the name that GGUF has for a model's family, such as `GPT2`.

    Raises:
        UnsupportedModelError: llama.cpp computes something else; the message names the field.
    """
    family = family_of(config)
    fits = {
        "activation": family != "gpt2" or config.activation == "gelu_approximate",
        "rope_scaling": family == "llama" or config.rope_scaling is None,
        "head_dim": family != "qwen2" or config.attention_size == config.hidden_size,
    }
    for field, fit in fits.items():
        if not fit:
            raise UnsupportedModelError(
                f"this model has no form in GGUF: {field}={getattr(config, field)!r} is not what "
                f"llama.cpp computes for a {family}, which is {_COMPUTED[field]}; export it with "
                "--format hf, or train with that"
            )
    return _ARCHITECTURES[family]


def add_hyperparameters(writer: gguf.GGUFWriter, config: TransformerConfig) -> None:
    """Write the shape of a model."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.mlp_size)
    writer.add_block_count(config.num_layers)
    writer.add_head_count(config.num_heads)
    if family_of(config) == "gpt2":
        writer.add_layer_norm_eps(config.norm_epsilon)
        return
    writer.add_head_count_kv(config.key_value_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    if config.rope_scaling is not None:  # `rope_freqs` has the rest
        writer.add_rope_scaling_orig_ctx_len(config.rope_scaling.original_max_position_embeddings)


def named_tensors(model: GPTModel, vocabulary: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors by their names in GGUF, with rows for the first `vocabulary` ids."""
    import gguf

    config = model.config
    arch = gguf.MODEL_ARCH[architecture(config)]
    names = gguf.get_tensor_name_map(arch, config.num_layers)
    if (scaling := config.rope_scaling) is not None:
        yield "rope_freqs.weight", _stretched(config, scaling)
    for theirs, tensor in their_tensors(model):
        name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UnsupportedModelError(f"tensor {theirs!r} has no name in GGUF for {arch.name}")
        if theirs in _TABLES:
            tensor = tensor[:vocabulary]
        elif arch == gguf.MODEL_ARCH.GPT2 and tensor.dim() == 2 and "wpe" not in theirs:
            tensor = tensor.t()  # GPT-2's format has [in, out]
        elif arch == gguf.MODEL_ARCH.LLAMA:
            tensor = _paired(theirs, tensor, config)
        yield name, tensor


def _paired(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """Return queries' and keys' rows as llama.cpp rotates a Llama's: neighbours are a pair.

    Hugging Face pairs a row with the one half a head behind it.
    """
    heads = {"q_proj": config.num_heads, "k_proj": config.key_value_heads}
    count = heads.get(name.split(".")[-2])
    if count is None:
        return tensor
    halves = tensor.reshape(count, 2, config.head_size // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _stretched(config: TransformerConfig, scaling: RopeScaling) -> Tensor:
    """Return by what each rotation's frequency is divided, [head_size / 2] (Llama 3.1)."""
    context = scaling.original_max_position_embeddings
    places = torch.arange(0, config.head_size, 2, dtype=torch.float64)
    wavelengths = 2 * math.pi * config.rope_theta ** (places / config.head_size)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    mixed = ((context / wavelengths - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - mixed) / scaling.factor + mixed)).float()
