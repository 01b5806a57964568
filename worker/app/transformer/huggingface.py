"""Models in Hugging Face's format: export to GPT-2 or Llama form, import from GPT-2.

A folder holds `config.json` and `model.safetensors`. Only the standard forms are written, which
`AutoModelForCausalLM` loads without custom code; other shapes are refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.transformer.config import TransformerConfig
from app.transformer.export_folder import PRODUCER, replaced_export
from app.transformer.layers import NORM_EPSILON
from app.transformer.model import GPTModel
from app.transformer.positions import ROTARY_BASE

_GPT2_ACTIVATIONS = {"gelu_approximate": "gelu_new", "gelu": "gelu", "relu": "relu"}

# Ours -> theirs, within a block. Their linear weights are stored [in, out] in GPT-2.
_GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.output": "mlp.c_proj",
}
# Options of their format that change the computation, and the only value that is ours.
_GPT2_NEEDED = {
    "layer_norm_epsilon": NORM_EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_GPT2_TOP = {
    "token_embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "final_norm.weight": "transformer.ln_f.weight",
    "final_norm.bias": "transformer.ln_f.bias",
    "lm_head.weight": "lm_head.weight",
}


class UnsupportedModelError(ValueError):
    """A model without an equivalent in the other format; the message names the fields."""


def export_model(
    model: GPTModel, folder: str | Path, tokenizer_files: Iterable[str | Path] = ()
) -> Path:
    """Write `model` to `folder` as Hugging Face reads it, and copy `tokenizer_files` beside it.

    The files of an earlier export in the folder are replaced as a whole.

    Raises:
        UnsupportedModelError: the configuration is neither of GPT-2 form nor of Llama form
            (rotary, rms_norm and swiglu, without biases).
        OSError: the folder cannot be written, or it holds a model that no export wrote.
    """
    config = model.config
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if not gpt2_obstacles(config):
        description, tensors = _gpt2_config(config), _to_gpt2(weights, config)
    elif not llama_obstacles(config):
        description, tensors = _llama_config(config), _to_llama(weights, config)
    else:
        raise UnsupportedModelError(_why_not(config))
    description["torch_dtype"] = str(model.token_embedding.weight.dtype).removeprefix("torch.")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replaced_export(Path(folder)) as staging:
        (staging / "config.json").write_text(json.dumps(description, indent=2) + "\n")
        save_file(contiguous, staging / "model.safetensors", metadata=PRODUCER)
        for file in tokenizer_files:
            shutil.copy(file, staging)
    return Path(folder)


def gpt2_obstacles(config: TransformerConfig) -> list[str]:
    """Return the fields, as `name=value`, that keep `config` from being a GPT-2; empty if none."""
    fits = {
        "position_encoding_type": config.position_encoding_type == "learned",
        "layer_norm_type": config.layer_norm_type == "layer_norm",
        "activation": config.activation in _GPT2_ACTIVATIONS,
        "num_kv_heads": config.key_value_heads == config.num_heads,
        "qk_norm": not config.qk_norm,
        "bias": config.bias,
    }
    return _misfits(config, fits)


def llama_obstacles(config: TransformerConfig) -> list[str]:
    """Return the fields, as `name=value`, that keep `config` from being a Llama; empty if none."""
    fits = {
        "position_encoding_type": config.position_encoding_type == "rotary",
        "layer_norm_type": config.layer_norm_type == "rms_norm",
        "activation": config.activation == "swiglu",
        "qk_norm": not config.qk_norm,
        "bias": not config.bias,
    }
    return _misfits(config, fits)


def _misfits(config: TransformerConfig, fits: dict[str, bool]) -> list[str]:
    return [f"{name}={getattr(config, name)!r}" for name, fit in fits.items() if not fit]


def _why_not(config: TransformerConfig) -> str:
    return (
        "this model has no Hugging Face equivalent: "
        f"{', '.join(gpt2_obstacles(config))} is not GPT-2's form, and "
        f"{', '.join(llama_obstacles(config))} is not Llama's; train one of these forms to "
        "export it"
    )


def _gpt2_config(config: TransformerConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_position_embeddings,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_size,
        "activation_function": _GPT2_ACTIVATIONS[config.activation],
        "attn_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "resid_pdrop": config.dropout_rate,
        "layer_norm_epsilon": NORM_EPSILON,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        # Their defaults are GPT-2's end-of-text id, which another vocabulary does not have.
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _llama_config(config: TransformerConfig) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_size,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROTARY_BASE,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _gpt2_names(config: TransformerConfig) -> dict[str, str]:
    """Map our tensor names to GPT-2's, for every tensor of the model."""
    names = {
        f"blocks.{layer}.{ours}.{kind}": f"transformer.h.{layer}.{theirs}.{kind}"
        for layer in range(config.num_layers)
        for ours, theirs in _GPT2_BLOCK.items()
        for kind in ("weight", "bias")
    }
    names.update(_GPT2_TOP)
    if config.tie_word_embeddings:
        del names["lm_head.weight"]
    return names


def _stored_transposed(ours: str) -> bool:
    """Whether GPT-2 stores this tensor as [in, out], the transpose of `nn.Linear`'s [out, in]."""
    return ours.startswith("blocks.") and ours.endswith(".weight") and "_norm." not in ours


def _to_gpt2(weights: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    return {
        theirs: weights[ours].t() if _stored_transposed(ours) else weights[ours]
        for ours, theirs in _gpt2_names(config).items()
    }


def _to_llama(weights: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    tensors = {
        "model.embed_tokens.weight": weights["token_embedding.weight"],
        "model.norm.weight": weights["final_norm.weight"],
    }
    if not config.tie_word_embeddings:
        tensors["lm_head.weight"] = weights["lm_head.weight"]
    key_value_size = config.key_value_heads * config.head_dim
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        qkv = weights[ours + "attention.qkv.weight"]
        sizes = [config.hidden_size, key_value_size, key_value_size]
        query, key, value = torch.split(qkv, sizes)  # rows: all queries, then keys, then values
        gate, up = weights[ours + "mlp.up.weight"].chunk(2)  # rows: the gate's, then up's
        block = {
            "input_layernorm": weights[ours + "attention_norm.weight"],
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": weights[ours + "attention.output.weight"],
            "post_attention_layernorm": weights[ours + "mlp_norm.weight"],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": weights[ours + "mlp.output.weight"],
        }
        tensors.update({f"{theirs}{name}.weight": tensor for name, tensor in block.items()})
    return tensors


def from_gpt2(
    source: str | Path | Mapping[str, Tensor], description: Mapping[str, Any] | None = None
) -> GPTModel:
    """Build a model with the weights of a Hugging Face GPT-2.

    `source` is a folder with `config.json` and `model.safetensors` (or `pytorch_model.bin`, read
    without executing anything from it), or a state dict with the contents of `config.json` in
    `description`.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsupportedModelError: The model is not a GPT-2, or tensors are missing.
    """
    if isinstance(source, Mapping):
        if description is None:
            raise ValueError("`description` is missing; a state dict needs its config.json beside")
        tensors = dict(source)
    else:
        folder = Path(source)
        description = json.loads((folder / "config.json").read_text())
        tensors = _read_tensors(folder)
    config = _config_from_gpt2(description)
    model = GPTModel(config)
    model.load_state_dict(_weights_from_gpt2(tensors, config))
    return model


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.exists():
        return dict(load_file(safe))
    if pickled.exists():
        return dict(torch.load(pickled, map_location="cpu", weights_only=True))
    raise FileNotFoundError(
        f"{folder} has neither model.safetensors nor pytorch_model.bin; name the folder of a "
        "Hugging Face GPT-2"
    )


def _config_from_gpt2(description: Mapping[str, Any]) -> TransformerConfig:
    kind = description.get("model_type")
    if kind != "gpt2":
        raise UnsupportedModelError(f"`model_type` is {kind!r}; only 'gpt2' can be imported")
    activations = {theirs: ours for ours, theirs in _GPT2_ACTIVATIONS.items()}
    activations["gelu_pytorch_tanh"] = "gelu_approximate"
    activation = description.get("activation_function", "gelu_new")
    if activation not in activations:
        raise UnsupportedModelError(
            f"`activation_function` is {activation!r}; it must be one of "
            f"{', '.join(sorted(activations))}"
        )
    for name, needed in _GPT2_NEEDED.items():
        value = description.get(name, needed)
        if value != needed:
            raise UnsupportedModelError(f"`{name}` is {value!r}; it must be {needed!r}")
    config = TransformerConfig.from_dict(
        {
            "vocab_size": description.get("vocab_size", 50257),
            "hidden_size": description.get("n_embd", 768),
            "num_layers": description.get("n_layer", 12),
            "num_heads": description.get("n_head", 12),
            "intermediate_size": description.get("n_inner"),
            "max_position_embeddings": description.get("n_positions", 1024),
            "activation": activations[activation],
            "dropout_rate": description.get("resid_pdrop", 0.1),
            "initializer_range": description.get("initializer_range", 0.02),
            "tie_word_embeddings": description.get("tie_word_embeddings", True),
        }
    )
    config.validate()
    return config


def _weights_from_gpt2(
    tensors: Mapping[str, Tensor], config: TransformerConfig
) -> dict[str, Tensor]:
    # Some files leave out the `transformer.` in front of every name.
    stripped = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    names = {
        ours: theirs.removeprefix("transformer.") for ours, theirs in _gpt2_names(config).items()
    }
    missing = [theirs for theirs in names.values() if theirs not in stripped]
    if missing:
        raise UnsupportedModelError(
            f"{len(missing)} tensors are missing, {missing[0]} first; is it a whole GPT-2?"
        )
    return {
        ours: stripped[theirs].t() if _stored_transposed(ours) else stripped[theirs]
        for ours, theirs in names.items()
    }
