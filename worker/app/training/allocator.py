"""Keep freed memory on a CPU: every step asks for the buffers that the step before gave back.

By default glibc returns large blocks to the system when they are freed, and the system hands them
out again page by page, zeroed: hundreds of page faults in every step of a small model.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT_BLOCK = 32 << 20
"""Bytes. Larger blocks are few, and giving them back is worth their page faults."""
KEPT_AT_THE_TOP = 512 << 20
"""Bytes of free memory at the heap's end from which on some is returned."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
    return bool(kept and mallopt(M_TRIM_THRESHOLD, KEPT_AT_THE_TOP))
