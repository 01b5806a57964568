"""A folder that holds one exported model and nothing of an earlier one.

An export writes a handful of files that loaders find by name. Whatever another export left there
(a tokenizer, generation settings, further shards) would be loaded together with the new weights.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

PRODUCER = {"format": "pt", "producer": "training-engine"}
"""Metadata of the weights' file. It marks a folder whose files may be replaced."""

CARD = "README.md"
"""Name of a model card."""
CARD_MARK = "<!-- Written by `training-engine export`, and replaced by the next one. -->"
"""In a model card of ours. One without it is the user's own, and stays."""

_DESCRIPTION = "config.json"
_STAGING = ".export-"
"""Begins the name of the folder in which an export is written, inside the one that it is for."""
_READ_BY_LOADERS = (
    _DESCRIPTION, "generation_config.json", "*.safetensors", "*.safetensors.index.json",
    "pytorch_model*.bin", "pytorch_model.bin.index.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.json",
    "chat_template.jinja", "adapter_config.json",
)  # fmt: skip
"""Names that `transformers`, tokenizers and converters look for in a model's folder."""


@contextlib.contextmanager
def replaced_export(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write an export to; its files then replace those in `folder`.

    Nothing changes in `folder` if the body raises. Files that no loader reads stay. What an export
    that was killed has left there is removed.

    Raises:
        OSError: the folder cannot be written, another export writes to it, or it holds a model
            that no export wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        earlier = _model_files(folder)
        if earlier and not _is_export(folder):
            why = f"it holds {earlier[0].name}, which no export of this engine wrote"
            raise FileExistsError(errno.EEXIST, why, str(folder))
        with tempfile.TemporaryDirectory(prefix=_STAGING, dir=folder) as name:
            staging = Path(name)
            yield staging
            _replace(folder, staging)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other exports out of a folder, and remove what those that were killed left there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FileExistsError(errno.EEXIST, "another export writes to it", str(folder)) from None
    except OSError:
        pass  # a network mount without locks; what was left there stays
    else:
        for left in folder.glob(f"{_STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield
    finally:
        os.close(handle)


def has_own_card(folder: Path) -> bool:
    """Whether the folder has a model card that no export wrote."""
    card = folder / CARD
    return card.exists() and CARD_MARK.encode() not in card.read_bytes()


def _replace(folder: Path, staging: Path) -> None:
    # The description goes first and comes last: without it no loader opens the folder. The weights
    # name their producer: while other files are there they are too, or an export that is killed
    # here would leave a folder that the next one takes for somebody's model.
    for path in sorted(_model_files(folder), key=_goes_at):
        path.unlink()
    for path in sorted(staging.iterdir(), key=_goes_at, reverse=True):
        path.replace(folder / path.name)


def _goes_at(path: Path) -> int:
    return 0 if path.name == _DESCRIPTION else 2 if path.suffix == ".safetensors" else 1


def _model_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and any(fnmatch.fnmatchcase(path.name, name) for name in _READ_BY_LOADERS)
    )


def _is_export(folder: Path) -> bool:
    """Return True where the weights name this engine as their producer."""
    metadata = [_metadata(path) for path in folder.glob("*.safetensors")]
    return bool(metadata) and all(
        found.get("producer") == PRODUCER["producer"] for found in metadata
    )


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file: its length in 8 bytes, then a JSON header."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 100 << 20)))
            return dict(header.get("__metadata__", {}))
    except (OSError, ValueError, struct.error, AttributeError, TypeError):
        return {}
