"""Arrays of token ids on disk: memory-mapped files of the data, and cache entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.array_files import read_layout
from app.training.data.formats import ReadOptions
from app.training.reading import open_permitted
from app.training.tokenizer import Tokenizer
from app.training.tokenizer_files import trained_size

_SCAN_IDS = 1 << 22  # ids looked at together when the largest is sought


@dataclass
class TokenArray:
    """Ids in a file, mapped on first use, and again in every process that unpickles it."""

    path: Path
    dtype: str
    offset: int
    """Bytes before the first id."""
    count: int
    """Number of ids."""
    is_data: bool = False
    """Whether the configuration names the file; else it is an entry of the cache."""
    _mapped: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def ids(self) -> npt.NDArray[Any]:
        """The ids as a read-only 1-D array of `dtype`; only touched pages use memory."""
        if self._mapped is None:
            with open_permitted(self.path) if self.is_data else self.path.open("rb") as file:
                mapped = np.memmap(file, self.dtype, "r", self.offset, (self.count,))
            # The plain view gathers faster than the memmap class, which runs Python per slice.
            self._mapped = mapped.view(np.ndarray)
        return self._mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}

    def range(self) -> tuple[int, int]:
        """Return the smallest and largest id, reading the file once in bounded memory."""
        smallest, largest, read = 0, -1, 0
        with progress.reading_file(lambda: read):
            for start in range(0, self.count, _SCAN_IDS):
                part = self.ids[start : start + _SCAN_IDS]
                smallest = min(smallest, int(part.min()))
                largest = max(largest, int(part.max()))
                read += part.nbytes
                progress.advanced(part.nbytes)
        return smallest, largest


def id_dtype(spec: str, tokenizer: Tokenizer | None) -> str:
    """Return the type in which the ids of a tokenizer are stored.

    For one that is yet to be made its name decides. An alphabet has fewer than 2^16 characters,
    or is refused for its vocabulary.
    """
    size = (trained_size(spec) or 0) if tokenizer is None else tokenizer.vocab_size
    return "<u2" if size <= 1 << 16 else "<u4"


def open_token_file(path: Path, options: ReadOptions) -> TokenArray:
    """Map a `.bin`, `.ds` or `.npy` file; raises DataError for one that is not what it seems."""
    layout = read_layout(path, options)
    return TokenArray(path, layout.dtype, layout.offset, layout.count, is_data=True)
