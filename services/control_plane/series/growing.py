"""An array that grows at its end without being copied each time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LEAST = 64


class Growing:
    """Float64 numbers, of which the first `size` are in use."""

    def __init__(self) -> None:
        self._data: Floats = np.empty(0)
        self.size = 0

    @property
    def values(self) -> Floats:
        """A view of the numbers, valid until the next change."""
        return self._data[: self.size]

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self._data.nbytes

    def extend(self, numbers: Floats) -> None:
        """Append numbers."""
        end = self.size + len(numbers)
        if end > len(self._data):
            larger = np.empty(max(end, 2 * len(self._data), _LEAST))
            larger[: self.size] = self.values
            self._data = larger
        self._data[self.size : end] = numbers
        self.size = end

    def cut(self, size: int) -> None:
        """Keep the first `size` numbers."""
        self.size = min(self.size, size)
