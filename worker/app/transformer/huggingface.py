"""Models in Hugging Face's format: GPT-2, Llama, Mistral, Qwen2 and Qwen3, read and written.

A folder holds `config.json` and the weights. Only the standard forms are written, which
`AutoModelForCausalLM` loads without custom code; other shapes are refused. `families` has the
fields of both sides, `tensor_layout` the tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from app.transformer.config import TransformerConfig
from app.transformer.errors import UnsupportedModelError
from app.transformer.export import ExportOptions, write_export
from app.transformer.families import Family, describe, family_of, read_description
from app.transformer.model import GPTModel
from app.transformer.tensor_layout import BASE_PREFIXES, COMPUTED, EMBEDDINGS, HEAD, Layout, layout
from app.transformer.weight_files import (
    DTYPES,
    StoredTensor,
    find_tensors,
    read_config,
    same_bytes,
    weight_files,
)

__all__ = ["UnsupportedModelError", "export_model", "from_pretrained", "their_tensors"]

_MOST_NAMED = 10
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


# -- ours to theirs --------------------------------------------------------------------------------


def export_model(
    model: GPTModel, folder: str | Path, options: ExportOptions | None = None
) -> list[Path]:
    """Write `model` to `folder` as Hugging Face reads it; return the files.

    The files of an earlier export in the folder are replaced as a whole.

    Raises:
        UnsupportedModelError: the configuration is of no family's form.
        NotRepresentableError: a weight is too large for the type.
        OSError: the folder cannot be written, or it holds a model that no export wrote.
    """
    description = describe(model.config)
    return write_export(Path(folder), description, their_tensors(model), options or ExportOptions())


def their_tensors(model: GPTModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a model's family by their names there; views of the model's memory."""
    weights = model.state_dict()
    for ours, parts in layout(model.config, family_of(model.config)).items():
        # Qwen3 scales normed heads; a model of ours that does not has weights of one.
        whole = weights[ours] if ours in weights else torch.ones(parts[0].shape)
        rows = whole.detach().cpu().split([part.rows for part in parts])
        for part, tensor in zip(parts, rows, strict=True):
            yield part.name, tensor.t() if part.transposed else tensor


# -- theirs to ours --------------------------------------------------------------------------------


def from_pretrained(
    source: str | Path | Mapping[str, Tensor], description: Mapping[str, Any] | None = None
) -> GPTModel:
    """Build a model in float32 with the weights of a Hugging Face model.

    `source` is a folder with `config.json` and `model.safetensors`, or shards with their index (or
    `pytorch_model.bin`, read without executing anything from it), or a state dict with the contents
    of `config.json` in `description`. Where embedding and head are both there and differ, they are
    not tied, whatever config.json says.

    Raises:
        UnsupportedModelError: The model is of another family or quantized, or files or tensors are
            missing, damaged or of another shape. The message names the field or the tensor.
    """
    if isinstance(source, Mapping):
        if description is None:
            raise ValueError("`description` is missing; a state dict needs its config.json beside")
        weights: Weights = _LoadedWeights(source)
    else:
        description, weights = read_config(Path(source)), open_weights(Path(source))
    family, config = read_description(description)
    names = _names(weights, family)
    config, names = _tied_by_file(weights, names, config, family)
    _check_tensors(weights, names, layout(config, family))
    model = GPTModel.unfilled(config)
    _fill(model, layout(config, family), weights, names)
    return model


class Weights(Protocol):
    """Named tensors that are read one by one."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor, by name."""

    def kind(self, name: str) -> str | None:
        """Return the tensor's type where it is none that weights may have, else None."""

    def read(self, name: str) -> Tensor:
        """Return a tensor; its memory may be the file's."""

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors are equal."""


def open_weights(folder: Path) -> Weights:
    """Return the weights in a folder; raise `UnsupportedModelError` where they are not whole."""
    files, places = weight_files(folder)
    if files[0].suffix == ".safetensors":
        return _MappedWeights(find_tensors(files, places))
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _unpickled(file)
    if lacking := sorted(set(places or ()) - tensors.keys()):
        raise UnsupportedModelError(f"{folder} lacks tensor {lacking[0]!r}, which its index names")
    return _LoadedWeights(tensors)


def _unpickled(file: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        first_line = str(error).split("\n", 1)[0]
        raise UnsupportedModelError(
            f"{file} holds more than tensors, or is damaged: {first_line}; save the model as "
            "safetensors"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise UnsupportedModelError(f"{file} is not a mapping of names to tensors")
    return tensors


class _LoadedWeights:
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def kind(self, name: str) -> str | None:
        dtype = self._tensors[name].dtype
        return None if dtype in _FLOATS else str(dtype)

    def read(self, name: str) -> Tensor:
        return self._tensors[name]

    def same(self, one: str, other: str) -> bool:
        return torch.equal(self._tensors[one], self._tensors[other])


class _MappedWeights:
    """Tensors of safetensors files, which are mapped: reading one copies nothing."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = tensors
        self._files: dict[Path, Any] = {}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def kind(self, name: str) -> str | None:
        dtype = self._tensors[name].dtype
        return None if dtype in DTYPES else dtype

    def read(self, name: str) -> Tensor:
        file = self._tensors[name].file
        try:
            if file not in self._files:
                self._files[file] = safe_open(file, framework="pt")
            tensor: Tensor = self._files[file].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UnsupportedModelError(
                f"tensor {name!r} of {file} cannot be read: {error}"
            ) from None
        return tensor

    def same(self, one: str, other: str) -> bool:
        return same_bytes(self._tensors[one], self._tensors[other])


def _names(weights: Weights, family: Family) -> dict[str, str]:
    """Map each tensor's full name to its name in the file, which may lack the family's prefix."""
    prefix = BASE_PREFIXES[family]
    return {
        name if name.startswith(prefix) or name == HEAD else prefix + name: name
        for name in weights.shapes()
        if not name.endswith(COMPUTED)
    }


def _tied_by_file(
    weights: Weights, names: dict[str, str], config: TransformerConfig, family: Family
) -> tuple[TransformerConfig, dict[str, str]]:
    """Return configuration and names as the file has them, see `from_pretrained`.

    Where they are tied, the only one that is there, or else the embedding, is both.
    """
    if not config.tie_word_embeddings:
        return config, names
    embedding = EMBEDDINGS[family]
    if HEAD not in names:
        return config, names
    if embedding in names and not weights.same(names[embedding], names[HEAD]):
        return dataclasses.replace(config, tie_word_embeddings=False), names
    kept = {name: stored for name, stored in names.items() if name != HEAD}
    return config, {embedding: names[HEAD]} | kept


def _check_tensors(weights: Weights, names: Mapping[str, str], expected: Layout) -> None:
    """Raise one `UnsupportedModelError` that lists tensors that are missing, wrong or too many."""
    shapes = weights.shapes()
    wanted = {part.name: part.shape for parts in expected.values() for part in parts}
    problems = [f"{name} is missing" for name in wanted if name not in names]
    for name, stored in names.items():
        if name not in wanted:
            problems.append(f"{name} {list(shapes[stored])} is not described by config.json")
        elif shapes[stored] != wanted[name]:
            there, rule = list(shapes[stored]), list(wanted[name])
            problems.append(f"{name} is {there} and must be {rule} by config.json")
        elif (kind := weights.kind(stored)) is not None:
            problems.append(f"{name} is of type {kind}: it is quantized, or no weight")
    if problems:
        more = len(problems) - _MOST_NAMED
        listed = "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise UnsupportedModelError(
            f"the weights are not those of the model that config.json describes: {listed}"
        )


@torch.no_grad()
def _fill(model: GPTModel, expected: Layout, weights: Weights, names: Mapping[str, str]) -> None:
    """Copy the weights into a model, in its own type."""
    for ours, parameter in model.named_parameters():
        parts = expected[ours]
        rows = torch.split(parameter, [part.rows for part in parts])
        for part, target in zip(parts, rows, strict=True):
            stored = weights.read(names[part.name])
            target.copy_(stored.t() if part.transposed else stored)


from_gpt2 = from_pretrained
"""Its name when GPT-2 was the one family that could be read."""
