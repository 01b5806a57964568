"""Memory of a CPU run: kept when it is freed, and in huge pages where the system has them.

By default glibc returns large blocks to the system when they are freed, and the system hands them
out again page by page, zeroed: hundreds of page faults in every step of a small model. And a step
walks through tens of megabytes of activations, thousands of pages of 4 KiB, more than a TLB holds.
"""

from __future__ import annotations

import ctypes
import mmap

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT_BLOCK = 32 << 20
"""Bytes. Larger blocks are few, and giving them back is worth their page faults."""
KEPT_AT_THE_TOP = 512 << 20
"""Bytes of free memory at the heap's end from which on some is returned."""
IN_HUGE_PAGES = 256 << 20
"""Bytes; less than what is kept, so that all of it stays when it has been prepared."""

_HUGE_PAGE = 2 << 20
_PIECE = 16 << 20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
    return bool(kept and mallopt(M_TRIM_THRESHOLD, KEPT_AT_THE_TOP))


def ask_for_huge_pages() -> bool:
    """Have the next `IN_HUGE_PAGES` bytes of the heap in huge pages, as far as they are used.

    Call after `keep_freed_memory`, in the thread that will train. A step of a small model takes
    4 to 7 % less CPU time. Costs address space, and at most one page's worth of memory. False
    where the system refuses.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # Never touched: this only moves the heap's end, so that there is something to advise on.
    pieces = [piece for _ in range(IN_HUGE_PAGES // _PIECE) if (piece := libc.malloc(_PIECE))]
    try:
        advised = [_advise(libc, piece) for piece in pieces]
        return all(advised)
    finally:
        for piece in pieces:
            libc.free(piece)


def _advise(libc: ctypes.CDLL, start: int) -> bool:
    # From the page that the piece begins in: pieces are contiguous, so every page is advised.
    first = start // _HUGE_PAGE * _HUGE_PAGE
    return bool(libc.madvise(first, _PIECE, mmap.MADV_HUGEPAGE) == 0)
