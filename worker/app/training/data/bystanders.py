"""Files beside data that hold none, and pointers that lie where data should be.

Standard library only: a control plane asks it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.training.data.array_indexes import is_index
from app.training.data.errors import DataError
from app.training.data.formats import inner_name
from app.training.data.saved_datasets import foreign_arrow_file
from app.training.reading import open_permitted

_ABOUT_DATA: Final = frozenset(
    [
        "readme",
        "license",
        "licence",
        "copying",
        "notice",
        "citation",
        "authors",
        "changelog",
        "contributing",
        "requirements",
        "dataset_card",
        "merges",
        "vocab",
        "checksum",
        "checksums",
        "dataset_info",
        "dataset_infos",
        "state",
        "manifest",
    ]
)
"""Names, without ending, of files beside data that are not data."""
_OF_TOKENIZERS: Final = frozenset(
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
)
_PAIR: Final = frozenset(["vocab.json", "merges.txt"])
_BESIDE_TOKENIZERS: Final = _PAIR | {"vocab.txt", "config.json", "generation_config.json"}
"""Of a tokenizer or its model where the others are there; else perhaps data."""
_OF_SYSTEMS: Final = frozenset(["desktop.ini"])
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER: Final = 1024


def is_about_data(path: Path) -> bool:
    """Whether a file has the name of a card, a licence or a note."""
    return inner_name(path).stem.lower().split(".")[0] in _ABOUT_DATA


def reason_to_leave(path: Path) -> str | None:
    """Why a file of a folder is known to be no data, by its name and what lies beside it.

    Raises:
        DataError: For a saved dataset whose rows are chosen by a file of indices.
    """
    if is_index(path):
        return "about the ids beside it"
    if _is_of_tokenizer(path):
        return "of a tokenizer"
    if path.name.lower() in _OF_SYSTEMS:
        return "a note of Windows"
    return foreign_arrow_file(path)


def _is_of_tokenizer(path: Path) -> bool:
    if path.name in _OF_TOKENIZERS:
        return True
    if path.name not in _BESIDE_TOKENIZERS:
        return False
    others = {*_OF_TOKENIZERS, *_PAIR} - {path.name}
    return any(path.with_name(name).is_file() for name in others)


def require_no_pointer(path: Path) -> None:
    """Refuse a file of Git LFS that was not downloaded.

    Raises:
        DataError: It holds a pointer in place of the data.
    """
    if path.stat().st_size > _LONGEST_POINTER:
        return
    with open_permitted(path) as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise DataError(
            f"{str(path)!r} is a pointer of Git LFS; the data itself was not downloaded; run `git "
            "lfs pull` in the repository, or download the file from its page"
        )
