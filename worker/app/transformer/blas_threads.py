"""How many threads NumPy's products of matrices take.

`torch.set_num_threads` is for torch's own products. NumPy's wheels bring OpenBLAS, which takes all
cores whatever the number of torch's, and NumPy has no call to change that.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np


def blas_threads() -> int | None:
    """Return the number of threads; None where NumPy has another library."""
    get = _function("get")
    return None if get is None else int(get())


def set_blas_threads(threads: int) -> None:
    """Change it for the whole process; nothing happens where NumPy has another library."""
    if (change := _function("set")) is not None:
        change(threads)


@functools.cache
def _function(kind: str) -> Callable[..., Any] | None:
    for library in _libraries():
        with suppress(OSError, AttributeError):
            found: Callable[..., Any] = getattr(
                ctypes.CDLL(str(library)), f"scipy_openblas_{kind}_num_threads64_"
            )
            return found
    return None


def _libraries() -> Iterator[Path]:
    """Where the wheels have it; loading it again gives the copy that NumPy uses."""
    yield from (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*")
