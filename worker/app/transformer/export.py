"""Writing a model as Hugging Face reads it, one tensor after another.

What the files hold is decided elsewhere: config.json and the tensors' names by `huggingface`, the
tokenizer and the model card by the training library. Here are the files themselves: safetensors,
in shards where they are large.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from app.transformer import peft_files
from app.transformer.export_folder import CARD, PRODUCER, has_own_card, replaced_export

DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""Types that an export may have, by their names."""
SHARD_BYTES: Final = 5_000_000_000
"""As in `transformers`: larger weights are divided, since readers and hosts limit a file."""

_STORED_NAMES: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

NamedTensors = Iterable[tuple[str, Tensor]]


class NotRepresentableError(ValueError):
    """A weight has no finite value in the type that was asked for; the message names the tensor."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export has beside the model itself."""

    dtype: torch.dtype | None = None
    """Of the weights, one of `DTYPES`; None keeps the model's."""
    shard_bytes: int = SHARD_BYTES
    """Tensors that a file of weights has at most, in bytes; a larger tensor has its own file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of config.json."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Further files by name."""


def write_export(
    folder: Path, description: Mapping[str, Any], tensors: NamedTensors, options: ExportOptions
) -> list[Path]:
    """Write config.json, the weights and further files to `folder`; return the files.

    The files of an earlier export there are replaced as a whole; a model card that was written by
    hand stays. In memory is one tensor at a time,
    beside those that the caller holds.

    Raises:
        NotRepresentableError: A weight is too large for the type.
        OSError: The folder cannot be written, or it holds a model that no export wrote.
    """
    views = list(tensors)
    dtype = options.dtype or views[0][1].dtype
    named = {"torch_dtype": str(dtype).removeprefix("torch.")}
    content = {**description, **named, **options.settings}
    with replaced_export(folder) as staging:
        _write_text(staging / "config.json", _as_json(content))
        weights = _write_weights(staging, views, dtype, options.shard_bytes)
        texts = {n: t for n, t in options.texts.items() if n != CARD or not has_own_card(folder)}
        for name, text in texts.items():
            _write_text(staging / name, text)
    return [folder / name for name in ("config.json", *weights, *texts)]


def write_adapter(
    folder: Path, description: Mapping[str, Any], tensors: Sequence[tuple[str, Tensor]]
) -> list[Path]:
    """Write adapter_config.json and the factors to `folder`, as `write_export`; return the files.

    Raises:
        OSError: The folder cannot be written, or it holds a model that no export wrote.
    """
    with replaced_export(folder) as staging:
        _write_text(staging / peft_files.DESCRIPTION, _as_json(description))
        _write_shard(staging / peft_files.WEIGHTS, list(tensors), torch.float32)
    return [folder / name for name in (peft_files.DESCRIPTION, peft_files.WEIGHTS)]


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _write_text(path: Path, text: str) -> None:
    # A card may name a file, whose name need not be text.
    path.write_text(text, encoding="utf-8", errors="replace", newline="")


def _write_weights(
    folder: Path, tensors: list[tuple[str, Tensor]], dtype: torch.dtype, shard_bytes: int
) -> list[str]:
    """Write the weights, with an index where they take several files; return the files' names."""
    shards = _shards(tensors, dtype.itemsize, shard_bytes)
    if len(shards) == 1:
        _write_shard(folder / "model.safetensors", shards[0], dtype)
        return ["model.safetensors"]
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_shard(folder / name, shard, dtype)
    size = sum(tensor.numel() for _, tensor in tensors) * dtype.itemsize
    places = {
        tensor: name for name, shard in zip(names, shards, strict=True) for tensor, _ in shard
    }
    index = {"metadata": {"total_size": size}, "weight_map": places}
    _write_text(folder / "model.safetensors.index.json", _as_json(index))
    return [*names, "model.safetensors.index.json"]


def _shards(
    tensors: list[tuple[str, Tensor]], itemsize: int, limit: int
) -> list[list[tuple[str, Tensor]]]:
    """Divide the tensors in their order, with at most `limit` bytes each."""
    shards: list[list[tuple[str, Tensor]]] = [[]]
    held = 0
    for name, tensor in tensors:
        size = tensor.numel() * itemsize
        if shards[-1] and held + size > limit:
            shards.append([])
            held = 0
        shards[-1].append((name, tensor))
        held += size
    return shards


def _write_shard(path: Path, tensors: list[tuple[str, Tensor]], dtype: torch.dtype) -> None:
    with path.open("wb") as file:
        file.write(_header(tensors, dtype))
        for name, tensor in tensors:
            write_tensor(file, name, tensor, dtype)


def _header(tensors: list[tuple[str, Tensor]], dtype: torch.dtype) -> bytes:
    """Return the beginning of a safetensors file: the length of its JSON in 8 bytes, and that."""
    entries: dict[str, Any] = {"__metadata__": PRODUCER}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + tensor.numel() * dtype.itemsize
        shape = list(tensor.shape)
        kind = _STORED_NAMES[dtype]
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data behind it is aligned
    return struct.pack("<Q", len(text)) + text


def write_tensor(file: BinaryIO, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Write the values of a tensor as `dtype`, row by row.

    Raises:
        NotRepresentableError: One of them is finite, and is not in `dtype`.
    """
    converted = _converted(name, tensor, dtype)
    file.write(converted.view(torch.uint8).numpy().data)


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a contiguous tensor of `dtype`; it is a copy only where it has to be."""
    if tensor.dtype == dtype and tensor.is_contiguous():
        return tensor
    converted = torch.empty(tensor.shape, dtype=dtype).copy_(tensor)
    largest = float(tensor.abs().max()) if dtype == torch.float16 else 0.0
    if torch.finfo(dtype).max < largest < float("inf"):
        raise NotRepresentableError(
            f"tensor {name!r} has a weight of {largest:.6g}; {str(dtype).removeprefix('torch.')} "
            f"has numbers up to {torch.finfo(dtype).max:g}; take bfloat16 or float32"
        )
    return converted
