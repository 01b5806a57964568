"""What a `.bin` or `.npy` file says of itself: where its ids begin, their type and their number.

Reads a few bytes and maps nothing. Standard library only: a control plane asks it too. Formats of
`.bin`, all little-endian:
- nanoGPT: no header, uint16. Where `vocab_size` is above 65,536 a file without a header is read
  as uint32, since uint16 could not hold its ids. `token_dtype` names another type; else it is
  read from the `.idx` file of Megatron beside, or seen by zeros in the high bytes of wider ids.
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
from app.training.data.formats import ReadOptions
from app.training.reading import open_permitted

_LLM_C_HEADER = struct.Struct("<256i")
_LLM_C_NUMBERS = struct.Struct("<3i")  # magic, version, count of tokens
_LLM_C_FORMATS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}  # magic: (version, dtype)
_DTYPES = {"uint8": "|u1", "uint16": "<u2", "uint32": "<u4", "int32": "<i4", "int64": "<i8"}
_OTHER_FORMATS = {
    b"LITPKDS": "packed by litgpt",
    b"PK\x03\x04": "a zip archive, as PyTorch writes weights",
    b"\x80\x02\x8a\nl\xfc\x9cF": "a pickle of PyTorch, which is never loaded",
    b"\x1f\x8b\x08": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"GGUF": "a model in GGUF",
}
_LITDATA_HEADER = struct.Struct("<2I")  # number of items, place of the first
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_HEADER = struct.Struct("<9sQB")
_MEGATRON_TYPES = {1: "uint8", 4: "int32", 5: "int64", 8: "uint16"}
_SAMPLE_BYTES = 1 << 16
_FEWEST_IDS = 16
"""Ids from which on zeros in all high bytes are not a matter of chance."""
_SHORTEST_TEXT = 64
_PRINTABLE = bytes([9, 10, 13, *range(32, 127)])
_MOST_WIDE_IDS = 0.1
"""Share of ids that may need their high bytes: labels of -100, and ids that are out of range."""
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
    note: str = ""
    """How the type was recognized, where that could be wrong."""


def read_layout(path: Path, options: ReadOptions) -> ArrayLayout:
    """Return the layout of a `.bin` or `.npy` file.

    Raises:
        DataError: For a file that is not what its name says, and `OSError`.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{str(path)!r} is empty; it must hold token ids; write it again")
    if path.suffix.lower() == ".npy":
        return _npy_layout(path, size)
    return _bin_layout(path, size, options)


def _npy_layout(path: Path, size: int) -> ArrayLayout:
    """Return the layout of a `.npy` file.

    Its header is a Python literal, which is matched and never evaluated.
    """
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
    """Return the header's text, and where the array begins."""
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


def _bin_layout(path: Path, size: int, options: ReadOptions) -> ArrayLayout:
    with open_permitted(path) as file:
        start = file.read(_LLM_C_HEADER.size)
    if len(start) >= _LLM_C_NUMBERS.size:  # even where the rest of the header is cut off
        magic, version, count = _LLM_C_NUMBERS.unpack_from(start)
        if magic in _LLM_C_FORMATS:
            return _llm_c_layout(path, size, magic, version, count)
    if _is_litdata(path, size, start):
        raise _not_bare_ids(path, "a chunk of LitData, with a table of its items")
    if options.token_dtype is None:
        _require_bare_ids(path, start)
    usual = "uint16" if options.vocab_size <= 1 << 16 else "uint32"
    declared = options.token_dtype or _megatron_type(path)
    guessed = None if declared else _guessed_type(path, size, usual)
    name = declared or guessed or usual
    dtype = _DTYPES[name]
    width = int(dtype[-1])
    if size % width:
        raise DataError(
            f"{str(path)!r} has {size} bytes; without a header it must be whole {name} ids, "
            f"{width} bytes each, for vocab_size={options.vocab_size}; write it again, or set "
            "`token_dtype` to the type of its ids"
        )
    return ArrayLayout(dtype, 0, size // width, _note_of(path, guessed, usual) if guessed else "")


def _require_bare_ids(path: Path, start: bytes) -> None:
    for beginning, what in _OTHER_FORMATS.items():
        if start.startswith(beginning):
            raise _not_bare_ids(path, what)


def _not_bare_ids(path: Path, what: str) -> DataError:
    return DataError(
        f"{str(path)!r} is {what}; a .bin file must hold bare token ids, or have a header of "
        "llm.c; write the ids with `array.astype(np.uint16).tofile(path)`, or text as JSON lines"
    )


def _is_litdata(path: Path, size: int, start: bytes) -> bool:
    """Whether the file begins with LitData's table: a count, and where each item begins and ends.

    The first item begins where the table ends, and the last ends with the file; or all are empty,
    and the rows follow as an Arrow file.
    """
    if len(start) < _LITDATA_HEADER.size:
        return False
    items, first = _LITDATA_HEADER.unpack_from(start)
    if not items or first != 4 * (items + 2) or first > size:
        return False
    with open_permitted(path) as file:
        file.seek(first - 4)
        return int.from_bytes(file.read(4), "little") in (size, first)


def _megatron_type(path: Path) -> str | None:
    """Return the type that Megatron's index beside the file names."""
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


def _guessed_type(path: Path, size: int, usual: str) -> str | None:
    """Return a type wider than `usual` if nearly all high bytes of a sample are zero.

    Raises:
        DataError: For a file that may be text.
    """
    sample, narrow = _sample(path, size), int(_DTYPES[usual][-1])
    if len(sample) >= _SHORTEST_TEXT and not sample.translate(None, _PRINTABLE):
        raise DataError(
            f"{str(path)!r} holds printable characters alone, as text does, or ids of one byte; as "
            f"{usual} its ids would mean nothing; set `token_dtype` to uint8, or to {usual} if it "
            "is that, or name a file of text `.txt`"
        )
    for name in ("int64", "int32"):
        width = int(_DTYPES[name][-1])
        if width > narrow and size % width == 0 and _has_zeros_above(sample, narrow, width):
            return name
    return None


def _has_zeros_above(sample: bytes, narrow: int, width: int) -> bool:
    """Whether ids of `width` bytes need `narrow` of them.

    Narrow ids with many zeros have them in every place alike, as padding is; so the low bytes must
    be other than zero far more often than the high ones.
    """
    starts = range(0, len(sample), width)
    low = sum(any(sample[start : start + narrow]) for start in starts)
    high = sum(any(sample[start + narrow : start + width]) for start in starts)
    return low >= _FEWEST_IDS and high <= low * _MOST_WIDE_IDS


def _sample(path: Path, size: int) -> bytes:
    """Bytes from the beginning, the middle and the end, each at a multiple of 8."""
    places = {0, size // 2 // 8 * 8, max(0, size - _SAMPLE_BYTES) // 8 * 8}
    with open_permitted(path) as file:
        parts = []
        for place in sorted(places):
            file.seek(place)
            part = file.read(_SAMPLE_BYTES)
            parts.append(part[: len(part) // 8 * 8])
    return b"".join(parts)


def _note_of(path: Path, guessed: str, usual: str) -> str:
    return (
        f"{str(path)!r} has no header and is read as {guessed}: as {usual} it would have a 0 in "
        "every place where wider ids have their high bytes; set `token_dtype` to decide"
    )


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
