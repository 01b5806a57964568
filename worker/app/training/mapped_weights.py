"""A checkpoint whose tensors stay in its file, with the weights verified alone.

A checkpoint holds the optimizer's state too, some twice the weights. Whoever needs the weights
reads a third of the file, and of the checksums in it those of what was read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.training.checkpoint_file import (
    manifest_path,
    read_manifest,
    read_state,
    verify_size,
    verify_unlisted,
)
from app.training.errors import CheckpointError


def read_mapped(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, tensors in the file, which are not verified yet.

    Raises:
        CheckpointError: The file is missing, cut short, or no checkpoint of this library.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    if manifest_path(path).exists():
        verify_size(read_manifest(path))
    if not zipfile.is_zipfile(path):  # of which torch says less
        raise CheckpointError(
            f"{path} is not a complete checkpoint: it is cut short, or another file"
        )
    return read_state(path, mapped=True)


def verify_weights(path: Path, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Check tensors of `read_mapped`, and what is no tensor, by the checksums in the file.

    Raises:
        CheckpointError: They are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            of_tensors, others = _records(archive)
            for record in others:
                archive.read(record)  # checks it
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is not a complete checkpoint: {error}") from None
    storages = sorted(_storages(state).values(), key=lambda storage: storage.data_ptr())
    if [each.nbytes() for each in storages] != [record.file_size for record in of_tensors]:
        verify_unlisted(path)  # not laid out as torch does it: all of it is read
        return
    places = {each.data_ptr(): r for each, r in zip(storages, of_tensors, strict=True)}
    for name, tensor in weights.items():
        storage = tensor.untyped_storage()
        if _checksum(storage) != places[storage.data_ptr()].CRC:
            raise CheckpointError(f"{path} is damaged: tensor {name!r} does not match its checksum")


def _records(archive: zipfile.ZipFile) -> tuple[list[zipfile.ZipInfo], list[zipfile.ZipInfo]]:
    """Return the entries that hold tensors, as they follow each other in the file; the others."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    of_tensors = [e for e in entries if e.filename.split("/")[-2:-1] == ["data"] and e.file_size]
    return of_tensors, [entry for entry in entries if entry not in of_tensors]


def _storages(value: object) -> dict[int, torch.UntypedStorage]:
    """Return the memory of all tensors in nested state, by address."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage} if storage.nbytes() else {}
    found: dict[int, torch.UntypedStorage] = {}
    for item in value if isinstance(value, list | tuple) else ():
        found |= _storages(item)
    return found


def _checksum(storage: torch.UntypedStorage) -> int:
    values = torch.empty(0, dtype=torch.uint8).set_(storage)
    return zlib.crc32(values.numpy().data)
