"""What lies beside a file of bare ids, and tells the type of its ids or what they are for.

- Megatron: `NAME.idx`, whose header names the type; then the lengths of the documents.
- datatrove: `NAME.ds.index`, the end of each document as uint64, counted in tokens; `NAME.ds.loss`,
  a byte for each token, 0 where it is not trained on; `NAME.ds.metadata`, a note.
- dolma and OLMo: `NAME.csv.gz`, where each document begins and ends.

Standard library only: a control plane asks it too.
"""

from __future__ import annotations

import struct
from pathlib import Path

from app.training.data.errors import DataError
from app.training.reading import open_permitted

_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_HEADER = struct.Struct("<9sQB")
_MEGATRON_TYPES = {1: "uint8", 4: "int32", 5: "int64", 8: "uint16"}
_DOCUMENT_END = struct.Struct("<Q")
_DATATROVE_TYPES = {2: "uint16", 4: "uint32"}
_BESIDE_DS = frozenset({".index", ".metadata"})


def is_index(path: Path) -> bool:
    """Whether a file is about the ids beside it, and holds none."""
    name = path.name.lower()
    if name.endswith(".idx"):
        return path.with_suffix(".bin").is_file()
    if name.endswith(".csv.gz"):
        return path.with_suffix("").with_suffix(".npy").is_file()
    return path.suffix.lower() in _BESIDE_DS and path.with_suffix("").suffix.lower() == ".ds"


def require_no_mask(path: Path) -> None:
    """Refuse a file of ids whose mask would be passed over.

    Raises:
        DataError: There is one beside it.
    """
    mask = path.with_name(f"{path.name}.loss")
    if path.suffix.lower() == ".ds" and mask.exists():
        raise DataError(
            f"{str(path)!r} has a mask of the tokens that are not trained on, {str(mask)!r}; masks "
            "are not read, and every token would be trained on; move the mask away if that is "
            "meant, or train on the records as conversations"
        )


def indexed_type(path: Path, size: int) -> str | None:
    """Return the type that an index beside a file of `size` bytes tells; None where there is none.

    Raises:
        DataError: The index is damaged, or the file has more than ids.
    """
    if path.suffix.lower() == ".ds":
        return _datatrove_type(path, size)
    return _megatron_type(path)


def _megatron_type(path: Path) -> str | None:
    """Return the type that Megatron's index names."""
    index = path.with_suffix(".idx")
    if not index.is_file():  # opening a pipe might wait for ever
        return None
    try:
        with open_permitted(index) as file:
            header = file.read(_MEGATRON_HEADER.size)
    except (OSError, ValueError):
        return None
    if len(header) < _MEGATRON_HEADER.size and _MEGATRON_MAGIC.startswith(header[:9]):
        raise DataError(
            f"{str(index)!r} has {len(header)} bytes; it must have the header of Megatron's index, "
            f"{_MEGATRON_HEADER.size} bytes; the file is cut off, copy it again"
        )
    if not header.startswith(_MEGATRON_MAGIC):
        return None
    _, version, code = _MEGATRON_HEADER.unpack(header)
    if version != 1 or code not in _MEGATRON_TYPES:
        raise DataError(
            f"{str(index)!r} names version {version} and type {code}; it must "
            f"name version 1 and a type among {sorted(_MEGATRON_TYPES)}; write integers again"
        )
    return _MEGATRON_TYPES[code]


def _datatrove_type(path: Path, size: int) -> str | None:
    """Return the type that makes as many ids of the file as datatrove's index counts."""
    index = path.with_name(f"{path.name}.index")
    if not index.is_file() or not index.stat().st_size:
        return None
    with open_permitted(index) as file:
        file.seek(-min(index.stat().st_size, _DOCUMENT_END.size), 2)
        last = file.read()
    count = _DOCUMENT_END.unpack(last)[0] if len(last) == _DOCUMENT_END.size else None
    for width, name in _DATATROVE_TYPES.items():
        if count is not None and count * width == size:
            return name
    raise DataError(
        f"{str(path)!r} has {size} bytes, and {str(index)!r} counts {count} tokens; there must be "
        "2 or 4 bytes for each, as datatrove writes them; one of them is cut off, copy both again"
    )
