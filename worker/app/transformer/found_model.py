"""The model that a Hugging Face folder holds: its family, its configuration, its tensors' names.

All of it is checked before a weight is read. Never imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.transformer.config import TransformerConfig
from app.transformer.described_model import read_description
from app.transformer.errors import UnsupportedModelError
from app.transformer.families import Family
from app.transformer.tensor_layout import BASE_PREFIXES, COMPUTED, EMBEDDINGS, HEAD, Layout, layout
from app.transformer.weight_files import (
    DTYPES,
    StoredTensor,
    find_tensors,
    read_config,
    same_bytes,
    weight_files,
)

_MOST_NAMED = 10


class TensorTable(Protocol):
    """What there is to know of tensors without reading them."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor, by name."""

    def kind(self, name: str) -> str | None:
        """Return the tensor's type where it is none that weights may have, else None."""

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors are equal."""


class StoredTensors:
    """The table of tensors in safetensors files."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = tensors

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def kind(self, name: str) -> str | None:
        dtype = self.tensors[name].dtype
        return None if dtype in DTYPES else dtype

    def same(self, one: str, other: str) -> bool:
        return same_bytes(self.tensors[one], self.tensors[other])


class FoundModel(NamedTuple):
    """A model whose tensors are all there."""

    family: Family
    config: TransformerConfig
    """As the files have it."""
    names: Mapping[str, str]
    """Of its tensors: the family's full name -> the one in the file."""


def find_model(description: Mapping[str, Any], weights: TensorTable) -> FoundModel:
    """Return the model that a config.json describes and tensors hold.

    Where embedding and head are both there and differ, they are not tied, whatever config.json
    says.

    Raises:
        UnsupportedModelError: It is of no family that can be read, or its tensors are missing, too
            many, of another shape or quantized. The message names the field or the tensors.
    """
    family, config = read_description(description)
    names = _names(weights, family)
    if config.num_layers > len(names):  # by name it would be a list of thousands
        raise UnsupportedModelError(
            f"config.json describes {config.num_layers} layers, and the weights have {len(names)} "
            "tensors; copy the model again, all of its files together"
        )
    config, names = _tied_by_file(weights, names, config, family)
    _check_tensors(weights, names, layout(config, family))
    return FoundModel(family, config, names)


def config_of_folder(folder: Path) -> TransformerConfig:
    """Return the configuration of the model in a folder, which is checked as far as headers tell.

    Raises:
        UnsupportedModelError: It cannot be read, see `find_model`.
    """
    description = read_config(folder)
    files, places = weight_files(folder)
    if files[0].suffix != ".safetensors":
        return read_description(description)[1]  # what a pickled file holds shows when it is read
    return find_model(description, StoredTensors(find_tensors(files, places))).config


def _names(weights: TensorTable, family: Family) -> dict[str, str]:
    """Map each tensor's full name to its name in the file, which may lack the family's prefix."""
    prefix = BASE_PREFIXES[family]
    names: dict[str, str] = {}
    for name in weights.shapes():
        if name.endswith(COMPUTED):
            continue
        full = name if name.startswith(prefix) or name == HEAD else prefix + name
        if names.setdefault(full, name) != name:
            raise UnsupportedModelError(
                f"the weights hold {names[full]} and {name}, which are two names of one tensor; "
                "save the model again with one of them"
            )
    return names


def _tied_by_file(
    weights: TensorTable, names: dict[str, str], config: TransformerConfig, family: Family
) -> tuple[TransformerConfig, dict[str, str]]:
    """Return configuration and names as the file has them, see `find_model`.

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


def _check_tensors(weights: TensorTable, names: Mapping[str, str], expected: Layout) -> None:
    """Raise one `UnsupportedModelError` that lists tensors that are missing, wrong or too many."""
    shapes = weights.shapes()
    wanted = {part.name: part.shape for parts in expected.values() for part in parts}
    problems = [f"{name} is missing" for name in wanted if name not in names]
    for name, stored in names.items():
        if name not in wanted:
            problems.append(f"{stored} {list(shapes[stored])} is not described by config.json")
        elif shapes[stored] != wanted[name]:
            there, rule = list(shapes[stored]), list(wanted[name])
            problems.append(f"{stored} is {there} and must be {rule} by config.json")
        elif (kind := weights.kind(stored)) is not None:
            problems.append(f"{stored} is of type {kind}")
    if problems:
        kinds = sorted({kind for each in names.values() if (kind := weights.kind(each))})
        remedy = "copy the model again, all of its files together"
        if kinds:
            remedy = f"no weights have the type {', '.join(kinds)}: where the model is quantized, "
            remedy += "take the one from which it was made"
        more = len(problems) - _MOST_NAMED
        listed = "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise UnsupportedModelError(
            f"the weights are not those of the model that config.json describes: {listed}; {remedy}"
        )
