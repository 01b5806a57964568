"""Arrays of token ids on disk: memory-mapped `.bin` and `.npy` files and cache entries.

Formats of `.bin`, all little-endian:
- nanoGPT: no header, uint16. Where `vocab_size` is above 65,536 a file without a header is read
  as uint32, since uint16 could not hold its ids.
- llm.c: 256 int32 of header (magic, version, count, zeros), then uint16 (magic 20240520,
  version 1) or uint32 (magic 20240801, version 7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.errors import DataError

_HEADER_INTEGERS = 256
_LLM_C_FORMATS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}  # magic: (version, dtype)
_SCAN_IDS = 1 << 22  # ids looked at together when the largest is sought


@dataclass
class TokenArray:
    """Ids in a file, mapped on first use and mapped anew in every process that unpickles it."""

    path: Path
    dtype: str
    offset: int
    """Bytes before the first id."""
    count: int
    """Number of ids."""
    _mapped: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def ids(self) -> npt.NDArray[Any]:
        """The ids as a read-only 1-D array of `dtype`; only touched pages use memory."""
        if self._mapped is None:
            mapped = np.memmap(self.path, self.dtype, "r", self.offset, (self.count,))
            # The plain view gathers faster than the memmap class, which runs Python per slice.
            self._mapped = mapped.view(np.ndarray)
        return self._mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}

    def range(self) -> tuple[int, int]:
        """Return the smallest and largest id, reading the file once in bounded memory."""
        smallest, largest = 0, -1
        for start in range(0, self.count, _SCAN_IDS):
            part = self.ids[start : start + _SCAN_IDS]
            smallest = min(smallest, int(part.min()))
            largest = max(largest, int(part.max()))
            progress.advanced(part.nbytes)
        return smallest, largest


def open_token_file(path: Path, vocab_size: int) -> TokenArray:
    """Map a `.bin` or `.npy` file; raises DataError for one that is not what it seems."""
    if path.stat().st_size == 0:
        raise DataError(f"{str(path)!r} is empty; it must hold token ids; write it again")
    opener: Callable[[Path, int], TokenArray] = (
        _open_npy if path.suffix.lower() == ".npy" else _open_bin
    )
    return opener(path, vocab_size)


def _open_npy(path: Path, vocab_size: int) -> TokenArray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as .npy ({error}); it must be a whole array of integers "
            "without pickled objects; write it again with `np.save`"
        ) from error
    if not isinstance(array, np.memmap) or not np.issubdtype(array.dtype, np.integer):
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(
            f"{str(path)!r} holds {kind}; it must hold integers; convert with "
            "`array.astype(np.uint16)`"
        )
    if not array.flags.c_contiguous:
        raise DataError(
            f"{str(path)!r} is in column order; it must be in row order to be mapped; save "
            "`np.ascontiguousarray(array)`"
        )
    return TokenArray(path, array.dtype.str, array.offset, array.size)


def _open_bin(path: Path, vocab_size: int) -> TokenArray:
    size = path.stat().st_size
    header_bytes = 4 * _HEADER_INTEGERS
    if size >= header_bytes:
        header = np.fromfile(path, dtype="<i4", count=_HEADER_INTEGERS)
        magic, version, count = (int(number) for number in header[:3])
        if magic in _LLM_C_FORMATS:
            return _open_llm_c(path, size, magic, version, count)
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    if size % dtype.itemsize:
        raise DataError(
            f"{str(path)!r} has {size} bytes; without a header it must be whole {dtype.name} ids, "
            f"{dtype.itemsize} bytes each, for vocab_size={vocab_size}; write it again"
        )
    return TokenArray(path, dtype.str, 0, size // dtype.itemsize)


def _open_llm_c(path: Path, size: int, magic: int, version: int, count: int) -> TokenArray:
    known_version, dtype = _LLM_C_FORMATS[magic]
    if version != known_version:
        raise DataError(
            f"{str(path)!r} has an llm.c header of version {version}; with magic {magic} it must "
            f"be {known_version}; write it with a matching release of llm.c"
        )
    offset = 4 * _HEADER_INTEGERS
    expected = offset + count * np.dtype(dtype).itemsize
    if count < 0 or size != expected:
        raise DataError(
            f"{str(path)!r} has {size} bytes; its header announces {count} tokens, which make "
            f"{expected}; the file is cut off or damaged, copy it again"
        )
    return TokenArray(path, dtype, offset, count)
