"""What a `.bin` or `.npy` file says of itself: where its ids begin, their type and their number.

Reads a few bytes and maps nothing. Standard library only: a control plane asks it too. Formats of
`.bin`, all little-endian:
- nanoGPT: no header, uint16. Where `vocab_size` is above 65,536 a file without a header is read
  as uint32, since uint16 could not hold its ids.
- llm.c: 256 int32 of header (magic, version, count, zeros), then uint16 (magic 20240520,
  version 1) or uint32 (magic 20240801, version 7).
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from app.training.data.errors import DataError
from app.training.reading import open_permitted

_LLM_C_HEADER = struct.Struct("<256i")
_LLM_C_FORMATS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}  # magic: (version, dtype)
_NPY_MAGIC = b"\x93NUMPY"
_NPY_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}  # major version: format of the header's length
_LONGEST_NPY_HEADER = 10_000
_NPY_FIELDS = {
    "descr": re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]*)['"]"""),
    "fortran_order": re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)"""),
    "shape": re.compile(r"""['"]shape['"]\s*:\s*\(([\s\dL,]*)\)"""),
}
_INTEGERS = re.compile(r"[<>|=]?[iu][1248]")


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Where the ids of a file are."""

    dtype: str
    """numpy's name of their type, such as `<u2`."""
    offset: int
    """Bytes before the first id."""
    count: int
    """Number of ids."""


def read_layout(path: Path, vocab_size: int) -> ArrayLayout:
    """Return the layout of a `.bin` or `.npy` file.

    Raises `DataError` for a file that is not what its name says, and `OSError`.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{str(path)!r} is empty; it must hold token ids; write it again")
    if path.suffix.lower() == ".npy":
        return _npy_layout(path, size)
    return _bin_layout(path, size, vocab_size)


def _npy_layout(path: Path, size: int) -> ArrayLayout:
    """The header is a Python literal; it is matched, never evaluated."""
    header, offset = _npy_header(path)
    found = {name: pattern.search(header) for name, pattern in _NPY_FIELDS.items()}
    descr, order, shape = (match.group(1) if match else None for match in found.values())
    if descr is None or order is None or shape is None:
        raise _not_npy(path, f"its header is {header.strip()[:80]!r}")
    if descr == "|O":
        raise _not_npy(path, "it holds pickled objects")
    if not _INTEGERS.fullmatch(descr):
        raise DataError(
            f"{str(path)!r} holds values of type {descr!r}; it must hold integers; convert with "
            "`array.astype(np.uint16)`"
        )
    lengths = [int(length) for length in re.findall(r"\d+", shape)]
    count = math.prod(lengths)
    if order == "True" and len(lengths) > 1:
        raise DataError(
            f"{str(path)!r} is in column order; it must be in row order to be mapped; save "
            "`np.ascontiguousarray(array)`"
        )
    expected = offset + count * int(descr[-1])
    if size < expected:
        why = f"it has {size} bytes, and its header announces {count} ids, which make {expected}"
        raise _not_npy(path, why)
    return ArrayLayout(descr, offset, count)


def _npy_header(path: Path) -> tuple[str, int]:
    """The header's text, and where the array begins."""
    with open_permitted(path) as file:
        start = file.read(8)
        form = _NPY_LENGTHS.get(start[6]) if len(start) == 8 else None
        if not start.startswith(_NPY_MAGIC) or form is None:
            raise _not_npy(path, f"it begins with {start!r}, not with {_NPY_MAGIC!r}")
        raw = file.read(struct.calcsize(form))
        length = struct.unpack(form, raw)[0] if len(raw) == struct.calcsize(form) else 0
        header = file.read(min(length, _LONGEST_NPY_HEADER))
        if not header or len(header) < length:
            raise _not_npy(path, "its header is cut off, or longer than those that numpy writes")
        return header.decode("latin-1"), file.tell()


def _not_npy(path: Path, why: str) -> DataError:
    return DataError(
        f"{str(path)!r} cannot be read as .npy: {why}; it must be one whole array of integers "
        "without pickled objects; write it again with `np.save`"
    )


def _bin_layout(path: Path, size: int, vocab_size: int) -> ArrayLayout:
    with open_permitted(path) as file:
        start = file.read(_LLM_C_HEADER.size)
    if len(start) == _LLM_C_HEADER.size:
        magic, version, count = _LLM_C_HEADER.unpack(start)[:3]
        if magic in _LLM_C_FORMATS:
            return _llm_c_layout(path, size, magic, version, count)
    dtype, name, width = ("<u2", "uint16", 2) if vocab_size <= 1 << 16 else ("<u4", "uint32", 4)
    if size % width:
        raise DataError(
            f"{str(path)!r} has {size} bytes; without a header it must be whole {name} ids, "
            f"{width} bytes each, for vocab_size={vocab_size}; write it again"
        )
    return ArrayLayout(dtype, 0, size // width)


def _llm_c_layout(path: Path, size: int, magic: int, version: int, count: int) -> ArrayLayout:
    known_version, dtype = _LLM_C_FORMATS[magic]
    if version != known_version:
        raise DataError(
            f"{str(path)!r} has an llm.c header of version {version}; with magic {magic} it must "
            f"be {known_version}; write it with a matching release of llm.c"
        )
    expected = _LLM_C_HEADER.size + count * int(dtype[-1])
    if count < 0 or size != expected:
        raise DataError(
            f"{str(path)!r} has {size} bytes; its header announces {count} tokens, which make "
            f"{expected}; the file is cut off or damaged, copy it again"
        )
    return ArrayLayout(dtype, _LLM_C_HEADER.size, count)
