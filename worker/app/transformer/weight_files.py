"""The files of a Hugging Face folder, and where in them each tensor is. Never imports torch.

What is wrong with a folder is found here, from its JSON files and the headers of its safetensors
files, before a tensor is read. Each error is an `UnsupportedModelError` that names file or tensor.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.transformer.errors import UnsupportedModelError
from app.transformer.fields import shown

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, for each type that weights may have."""

_MOST_JSON_BYTES = 100 << 20
_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"
_REMEDY = "copy the model again, with all of its files"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is, and what it is."""

    file: Path
    dtype: str
    """As safetensors names it, such as "BF16"."""
    shape: tuple[int, ...]
    start: int
    """Of its bytes in the file."""
    size: int
    """In bytes."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        UnsupportedModelError: The file is missing, too large, or something else.
    """
    _require_target(path)
    try:
        _require_file(path)
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ValueError(f"it has more than {_MOST_JSON_BYTES} bytes")
        return _object(path.read_bytes())
    except FileNotFoundError:
        raise UnsupportedModelError(
            f"{path.parent} has no {path.name}; name the folder of a Hugging Face model"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} cannot be read: {error}; {_REMEDY}") from None


def _require_target(path: Path) -> None:
    """Raise `UnsupportedModelError` for a link to nothing, as a part of a hub's cache has."""
    if path.is_symlink() and not path.exists():
        raise UnsupportedModelError(
            f"{path} is a link to {str(path.readlink())!r}, which is not there; copy the model "
            "again, with the files that its links lead to"
        )


def _require_file(path: Path) -> None:
    """Raise `ValueError` for a folder, and for a pipe, whose reader would wait for a writer."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """Return the contents of a folder's config.json; raise `UnsupportedModelError` without one."""
    require_no_adapter(folder)
    return read_json(folder / "config.json")


def require_no_adapter(folder: Path) -> None:
    """Raise `UnsupportedModelError` for a folder of `peft`."""
    if not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        raise UnsupportedModelError(
            f"{folder} holds an adapter (adapter_config.json) and no model; name its base model "
            "here, and the adapter as `initial_adapter`"
        )


def weight_files(folder: Path) -> tuple[list[Path], dict[str, Path] | None]:
    """Return the files with the weights, and the file of each tensor where an index names them.

    safetensors files come before pickled ones, a whole file before shards, as in `transformers`.

    Raises:
        UnsupportedModelError: There are none, or the index is wrong, or names a missing file.
    """
    for name in (_SAFETENSORS, _PICKLED):
        _require_target(folder / name)
        _require_target(folder / f"{name}.index.json")
        if (folder / name).exists():
            return [folder / name], None
        if (folder / f"{name}.index.json").exists():
            places = _read_index(folder / f"{name}.index.json", Path(name).suffix)
            return sorted(set(places.values())), places
    require_no_adapter(folder)
    raise UnsupportedModelError(
        f"{folder} has neither {_SAFETENSORS} nor {_PICKLED}, nor an index of shards; name the "
        "folder of a Hugging Face model"
    )


def _read_index(index: Path, suffix: str) -> dict[str, Path]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise UnsupportedModelError(f"{index} has no `weight_map`; {_REMEDY}")
    for name, file in files.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(suffix):
            raise UnsupportedModelError(
                f"{index} names {shown(file)} for tensor {shown(name)}; it must be a file beside "
                f"it whose name ends in {suffix}; {_REMEDY}"
            )
    # `os.path.exists` is false for a name that no file can have.
    named = sorted(set(files.values()))
    if missing := [file for file in named if not os.path.exists(index.parent / file)]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnsupportedModelError(
            f"{index} names files that are not there: {shown(missing[0])}{more}; {_REMEDY}"
        )
    return {name: index.parent / file for name, file in files.items()}


def find_tensors(files: list[Path], places: Mapping[str, Path] | None) -> dict[str, StoredTensor]:
    """Return where each tensor of safetensors files is.

    Raises:
        UnsupportedModelError: A file is damaged or cut off, or lacks a tensor of the index.
    """
    found = {file: read_header(file) for file in files}
    if places is None:
        return {name: tensor for tensors in found.values() for name, tensor in tensors.items()}
    for name, file in places.items():
        if name not in found[file]:
            raise UnsupportedModelError(
                f"{file} lacks tensor {name!r}, which the index says is in it; {_REMEDY}"
            )
    return {name: found[file][name] for name, file in places.items()}


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Return where the tensors of one safetensors file are: 8 bytes of length, JSON, then data.

    Raises:
        UnsupportedModelError: The file is damaged or cut off.
    """
    try:
        _require_file(file)
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MOST_JSON_BYTES:
                raise ValueError("it does not begin with the length of a header")
            header = _object(stream.read(length))
        if not isinstance(header.pop("__metadata__", {}), dict):
            raise ValueError("its metadata is not a mapping")
        data, end = 8 + length, file.stat().st_size
        tensors = {n: _stored(file, n, value, data, end) for n, value in header.items()}
        _require_covered(list(tensors.values()), data, end)
        return tensors
    except (OSError, ValueError, struct.error, KeyError, TypeError, RecursionError) as error:
        of_values = isinstance(error, struct.error | KeyError | TypeError)
        why = "its beginning is not the header of one" if of_values else str(error)
        raise UnsupportedModelError(
            f"{file} is not a whole safetensors file: {why}; {_REMEDY}"
        ) from None


def _stored(file: Path, name: str, value: Any, data: int, end: int) -> StoredTensor:
    start, stop = value["data_offsets"]
    if any(type(number) is not int for number in (start, stop, *value["shape"])):
        raise ValueError(f"tensor {name!r} has a shape or place that is not of whole numbers")
    tensor = StoredTensor(file, value["dtype"], tuple(value["shape"]), data + start, stop - start)
    if not 0 <= start <= stop or tensor.start + tensor.size > end:
        raise ValueError(f"tensor {name!r} ends behind the end of the file")
    if tensor.dtype in DTYPES and tensor.size != prod(tensor.shape) * DTYPES[tensor.dtype]:
        raise ValueError(f"tensor {name!r} has {tensor.size} bytes, not those of its shape")
    return tensor


def _require_covered(tensors: list[StoredTensor], start: int, end: int) -> None:
    """Raise `ValueError` unless the tensors follow each other without a gap, to the file's end."""
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.size)):
        if tensor.start != start:
            raise ValueError("its tensors overlap, or leave a gap")
        start += tensor.size
    if start != end:
        raise ValueError(f"it has {end - start} bytes behind its last tensor")


def same_bytes(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors hold the same numbers in the same type."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.start)
        second.seek(other.start)
        left = one.size
        while left:
            size = min(left, 1 << 20)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True
