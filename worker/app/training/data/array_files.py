"""What a file of ids says of itself: where its ids begin, their type and their number.

Reads a few bytes and maps nothing. Standard library only: a control plane asks it too. Formats,
all little-endian but for `.npy` with NumPy's header:
- `.bin` of nanoGPT, `.ds` of datatrove, `.npy` of dolma and OLMo: no header, uint16. Where
  `vocab_size` is above 65,536 a file without a header is read as uint32, since uint16 could not
  hold its ids. `token_dtype` names another type; else an index beside tells it, see
  `array_indexes`, or zeros in the high bytes of wider ids show it.
- `.bin` of llm.c: 256 int32 of header (magic, version, count, zeros), then uint16 (magic 20240520,
  version 1) or uint32 (magic 20240801, version 7).
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from app.training.data.array_indexes import indexed_type, require_no_mask
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
_LONGEST_MAGIC = 16
_PICKLES = (b"\2", b"\3", b"\4", b"\5")
"""Second byte of a pickle: its protocol."""
_LITDATA_HEADER = struct.Struct("<2I")  # number of items, place of the first
_SAMPLE_BYTES = 1 << 16
_FEWEST_IDS = 16
"""Ids from which on zeros in all high bytes are not a matter of chance."""
_SHORTEST_TEXT = 64
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
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
    """Return the layout of a `.bin`, `.ds` or `.npy` file.

    Raises:
        DataError: For a file that is not what its name says, and `OSError`.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{str(path)!r} is empty; it must hold token ids; write it again")
    require_no_mask(path)
    if path.suffix.lower() != ".npy":
        return _bin_layout(path, size, options)
    with open_permitted(path) as file:
        start = file.read(_LONGEST_MAGIC)
    if start.startswith(_NPY_MAGIC):
        return _npy_layout(path, size)
    return _bare_npy_layout(path, size, options, start)


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
        if form is None:
            raise _not_npy(path, f"it begins with {start!r}, which is no version that is known")
        raw = file.read(struct.calcsize(form))
        length = struct.unpack(form, raw)[0] if len(raw) == struct.calcsize(form) else 0
        header = file.read(min(length, _LONGEST_NPY_HEADER))
        if not header or len(header) < length:
            raise _not_npy(path, "its header is cut off, or longer than those that numpy writes")
        return header.decode("latin-1"), file.tell()


def _bare_npy_layout(path: Path, size: int, options: ReadOptions, start: bytes) -> ArrayLayout:
    """Return the layout of ids that were mapped and not saved: dolma and OLMo name them so too."""
    begins = f"it begins with {start[:8]!r}, not with {_NPY_MAGIC!r}"
    if _other_format(start) or _is_pickle(path, size, start):
        raise _not_npy(path, begins)
    if options.token_dtype is None and _is_mask(path, size):
        raise _not_npy(path, f"{begins}, and holds nothing but 0 and 1, as a mask of labels does")
    try:
        layout = _bare_layout(path, size, options)
    except DataError as error:
        raise DataError(
            f"{str(path)!r} cannot be read as .npy: {begins}; nor as bare ids, which dolma and "
            f"OLMo write under that name: {error}"
        ) from error
    return layout if options.token_dtype else replace(layout, note=_bare_npy_note(path, layout))


def _is_pickle(path: Path, size: int, start: bytes) -> bool:
    with open_permitted(path) as file:
        file.seek(size - 1)
        return start[:1] == b"\x80" and start[1:2] in _PICKLES and file.read() == b"."


def _is_mask(path: Path, size: int) -> bool:
    sample = _sample(path, size)
    return bool(sample) and not sample.translate(None, b"\0\1")


def _bare_npy_note(path: Path, layout: ArrayLayout) -> str:
    name = next(name for name, dtype in _DTYPES.items() if dtype == layout.dtype)
    return (
        f"{str(path)!r} has no header of NumPy and is read as bare {name} ids, which dolma and "
        "OLMo write under that name; set `token_dtype` to decide"
    )


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
    if options.token_dtype is None and (what := _other_format(start)):
        raise _not_bare_ids(path, what)
    return _bare_layout(path, size, options)


def _bare_layout(path: Path, size: int, options: ReadOptions) -> ArrayLayout:
    usual = "uint16" if options.vocab_size <= 1 << 16 else "uint32"
    declared = options.token_dtype or indexed_type(path, size)
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


def _other_format(start: bytes) -> str | None:
    """Return what a file with such a beginning is, if it is known to be something else than ids."""
    return next((what for mark, what in _OTHER_FORMATS.items() if start.startswith(mark)), None)


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


def _guessed_type(path: Path, size: int, usual: str) -> str | None:
    """Return a type wider than `usual` if nearly all high bytes of a sample are zero.

    Raises:
        DataError: For a file that may be text.
    """
    sample, narrow = _sample(path, size), int(_DTYPES[usual][-1])
    beginning = sample[: min(size, _SAMPLE_BYTES) // 8 * 8]
    if len(beginning) >= _SHORTEST_TEXT and _is_text(beginning):
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


def _is_text(beginning: bytes) -> bool:
    """Whether bytes are characters in UTF-8 without controls, as hardly any ids are."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)  # the last one may be cut
    except UnicodeDecodeError:
        return False
    return beginning.translate(None, _CONTROLS) == beginning


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
