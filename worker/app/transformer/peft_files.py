"""Folders of adapters in the format of `peft`: adapter_config.json and adapter_model.safetensors.

Its tensors are named by the base model's in Hugging Face's format: `lora_A.weight`, [rank, in], and
`lora_B.weight`, [out, rank], for each matrix, also where that is stored transposed. Never imports
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.transformer.config import TransformerConfig
from app.transformer.errors import UnsupportedModelError
from app.transformer.families import family_of
from app.transformer.fields import shown
from app.transformer.lora_layout import LoraConfig, adapted_layers
from app.transformer.tensor_layout import layout
from app.transformer.weight_files import DTYPES, StoredTensor, read_header, read_json

DESCRIPTION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PREFIX = "base_model.model."
_MOST_NAMED = 10
_NEEDED: Mapping[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": (None, "none"),
    # Others, such as "pissa", change the weights of the base too.
    "init_lora_weights": (None, True, False, "gaussian"),
}
"""Fields that change what is computed, and the values that are understood."""
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config",
        "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
        "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout",
        "lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "r", "revision",
        "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
"""Fields that say nothing that the tensors and `lora` do not say."""
_OFF: tuple[object, ...] = (None, False, [], {})
"""What all other fields must be: such a field turns a variant on, in releases to come too."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of the adapter of one matrix."""

    parameter: str
    """Ours that holds it, which may hold those of several matrices one below the other."""
    start: int
    """Its first row there."""
    shape: tuple[int, int]

    def of(self, parameter: Any) -> Any:
        """Return its rows of our tensor."""
        return parameter[self.start : self.start + self.shape[0]]


def factors(model: TransformerConfig, lora: LoraConfig) -> dict[str, Factor]:
    """Return the tensors of an adapter by their names in `peft`.

    Raises:
        UnsupportedModelError: The model has no Hugging Face equivalent.
    """
    family = family_of(model)
    matrices, found = layout(model, family), {}
    for layer in adapted_layers(model, lora.targets):
        theirs = matrices[f"{layer.name}.weight"]
        adapted = (t for t, part in zip(theirs, layer.parts, strict=True) if part.adapted)
        row = 0
        for number, matrix in enumerate(adapted):
            name = _PREFIX + matrix.name.removesuffix("weight")
            shape_a, shape_b = (lora.rank, layer.inputs), (matrix.rows, lora.rank)
            found[f"{name}lora_A.weight"] = Factor(layer.factor_a, number * lora.rank, shape_a)
            found[f"{name}lora_B.weight"] = Factor(layer.factor_b, row, shape_b)
            row += matrix.rows
    return found


def description(model: TransformerConfig, lora: LoraConfig, base: str) -> dict[str, Any]:
    """Return the contents of adapter_config.json.

    Raises:
        UnsupportedModelError: The model has no Hugging Face equivalent.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": _modules(model, lora),
        "fan_in_fan_out": family_of(model) == "gpt2",
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _modules(model: TransformerConfig, lora: LoraConfig) -> list[str]:
    """Return the adapted modules as `peft` names them: in short where all blocks have the same."""
    end = ".lora_A.weight"
    names = [n.removeprefix(_PREFIX).removesuffix(end) for n in factors(model, lora) if end in n]
    # "model.layers.3.self_attn.q_proj" is "self_attn.q_proj" in each block.
    in_block = list(dict.fromkeys(name.split(".", 3)[-1] for name in names))
    if len(names) < len(in_block) * model.num_layers:
        return names
    if family_of(model) == "gpt2":
        return in_block  # attention and MLP have a c_proj each
    return [name.rsplit(".", 1)[-1] for name in in_block]


def find_adapter(folder: Path, model: TransformerConfig, lora: LoraConfig) -> Path:
    """Return the file that has the `factors` of these adapters and no others.

    Raises:
        UnsupportedModelError: They are of another rank, alpha or base, or files are missing or
            damaged. The message names the field or the tensors.
    """
    if not folder.is_dir():
        raise UnsupportedModelError(f"{folder} is not a folder; name one with {DESCRIPTION}")
    _check_description(read_json(folder / DESCRIPTION), lora)
    wanted = factors(model, lora)
    file = _weights_file(folder)
    _check_tensors(read_header(file), wanted)
    return file


def _weights_file(folder: Path) -> Path:
    if (file := folder / WEIGHTS).exists():
        return file
    if (folder / _PICKLED).exists():
        raise UnsupportedModelError(
            f"{folder} has {_PICKLED}, a pickle, which is not read; save the adapter again as "
            f"{WEIGHTS} with a newer peft"
        )
    raise UnsupportedModelError(
        f"{folder} has no {WEIGHTS}; copy the adapter again, with all files"
    )


def _check_description(description: Mapping[str, Any], lora: LoraConfig) -> None:
    needed = dict.fromkeys(description.keys() - _WITHOUT_EFFECT, _OFF) | dict(_NEEDED)
    for name, understood in sorted(needed.items()):
        if (found := description.get(name)) not in understood:
            rule = " or ".join("null" if each is None else repr(each) for each in understood)
            rule = "null or False" if understood == _OFF else rule
            raise UnsupportedModelError(
                f"`{name}` is {shown(found)} in {DESCRIPTION}; only {rule} can be read; train the "
                "adapter again without it, or merge it into its base with peft"
            )
    for ours, theirs in (("rank", "r"), ("alpha", "lora_alpha")):
        value, found = getattr(lora, ours), description.get(theirs)
        if found != value:
            raise UnsupportedModelError(
                f"`lora.{ours}` is {value} and `{theirs}` is {shown(found)} in {DESCRIPTION}; they "
                "must be the same"
            )


def _check_tensors(stored: Mapping[str, StoredTensor], wanted: Mapping[str, Factor]) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in stored]
    for name, tensor in stored.items():
        if name not in wanted:
            problems.append(f"{name} {list(tensor.shape)} is of no layer in `lora.targets`")
        elif tensor.shape != wanted[name].shape:
            rule = list(wanted[name].shape)
            problems.append(f"{name} is {list(tensor.shape)} and must be {rule} for this base")
        elif tensor.dtype not in DTYPES:
            problems.append(f"{name} is of type {tensor.dtype}, which no adapter has")
    if problems:
        more = len(problems) - _MOST_NAMED
        listed = "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise UnsupportedModelError(
            f"the adapter does not fit: {listed}; take the one of this base, and name its layers "
            "in `lora.targets`"
        )
