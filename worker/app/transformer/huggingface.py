"""Models in Hugging Face's format: GPT-2, Llama, Mistral, Qwen2 and Qwen3, read and written.

A folder holds `config.json` and the weights. Only the standard forms are written, which
`AutoModelForCausalLM` loads without custom code; other shapes are refused. `families` has the
fields of both sides, `tensor_layout` the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from app.transformer.errors import UnsupportedModelError
from app.transformer.export import ExportOptions, write_export
from app.transformer.families import describe, family_of
from app.transformer.found_model import FoundModel, StoredTensors, TensorTable, find_model
from app.transformer.lora import has_adapters
from app.transformer.model import GPTModel
from app.transformer.page_faults import take_pages
from app.transformer.tensor_layout import layout
from app.transformer.weight_files import StoredTensor, find_tensors, read_config, weight_files

__all__ = [
    "PretrainedModel",
    "UnsupportedModelError",
    "export_model",
    "from_pretrained",
    "open_pretrained",
    "their_tensors",
]

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
    if has_adapters(model):
        raise UnsupportedModelError("the model has adapters; `merge_adapters(model)` first")
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
    pretrained = open_pretrained(source, description)
    model = GPTModel.unfilled(pretrained.config)
    take_pages(model.parameters())
    for name, parameter in model.named_parameters():
        pretrained.copy(name, parameter)
    return model


def open_pretrained(
    source: str | Path | Mapping[str, Tensor], description: Mapping[str, Any] | None = None
) -> PretrainedModel:
    """Return a Hugging Face model that is checked and not read yet; see `from_pretrained`."""
    if isinstance(source, Mapping):
        if description is None:
            raise ValueError("`description` is missing; a state dict needs its config.json beside")
        weights: Weights = _LoadedWeights(source)
    else:
        description, weights = read_config(Path(source)), open_weights(Path(source))
    return PretrainedModel(weights, find_model(description, weights))


class PretrainedModel:
    """A Hugging Face model whose tensors are read one by one, under our names."""

    def __init__(self, weights: Weights, found: FoundModel) -> None:
        self.config = found.config
        """As the files have it."""
        self._weights, self._names = weights, found.names
        self._layout = layout(found.config, found.family)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of our tensors, by name."""
        return {
            name: (sum(part.rows for part in parts), *parts[0].row_shape)
            for name, parts in self._layout.items()
        }

    @torch.no_grad()
    def copy(self, name: str, target: Tensor) -> None:
        """Copy one of our tensors into `target`, whose type may be another."""
        parts = self._layout[name]
        rows = torch.split(target, [part.rows for part in parts])
        for part, to in zip(parts, rows, strict=True):
            stored = self._weights.read(self._names[part.name])
            to.copy_(stored.t() if part.transposed else stored)


class Weights(TensorTable, Protocol):
    """Named tensors that are read one by one."""

    def read(self, name: str) -> Tensor:
        """Return a tensor; its memory may be the file's."""


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
        raise UnsupportedModelError(
            f"{file} {_why_unread(error)}; save the model as safetensors"
        ) from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise UnsupportedModelError(
            f"{file} is not a mapping of names to tensors; save the model as safetensors"
        )
    return tensors


def _why_unread(error: Exception) -> str:
    """Return what torch says of a pickled file, without its advice to execute it."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return f"holds more than tensors: {found[1]}, which is not executed"
    return f"is damaged, or no file of torch ({type(error).__name__})"


class _LoadedWeights:
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def kind(self, name: str) -> str | None:
        tensor = self._tensors[name]
        if tensor.is_meta or tensor.layout != torch.strided:
            return "meta" if tensor.is_meta else str(tensor.layout)
        return None if tensor.dtype in _FLOATS else str(tensor.dtype)

    def read(self, name: str) -> Tensor:
        return self._tensors[name]

    def same(self, one: str, other: str) -> bool:
        return torch.equal(self._tensors[one], self._tensors[other])


class _MappedWeights(StoredTensors):
    """Tensors of safetensors files, which are mapped: reading one copies nothing."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        super().__init__(tensors)
        self._files: dict[Path, Any] = {}

    def read(self, name: str) -> Tensor:
        file = self.tensors[name].file
        try:
            if file not in self._files:
                self._files[file] = safe_open(file, framework="pt")
            tensor: Tensor = self._files[file].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UnsupportedModelError(
                f"tensor {name!r} of {file} cannot be read: {error}"
            ) from None
        return tensor


from_gpt2 = from_pretrained
"""Its name when GPT-2 was the one family that could be read."""
