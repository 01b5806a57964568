"""Whether a file is on a disk of this machine, so that it may be mapped while it may be deleted.

A deleted file stays readable for those that have it open; on a network mount it does not where
another machine deletes it, and who then reads its mapped memory is killed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_LOCAL = {
    0xEF53,  # ext2 to ext4
    0x58465342,  # XFS
    0x9123683E,  # Btrfs
    0xF2F52010,  # F2FS
    0x2FC12FC1,  # ZFS
    0x01021994,  # tmpfs
    0x794C7630,  # overlayfs
}
"""Magic numbers of file systems, as `statfs` gives them."""

_ANSWER_BYTES = 512
"""More than any system's `struct statfs`, whose first number is the file system's."""


def is_on_local_disk(path: Path) -> bool:
    """Whether it is; False also where that cannot be found out."""
    if sys.platform != "linux":
        return False
    answer = ctypes.create_string_buffer(_ANSWER_BYTES)
    failed = ctypes.CDLL(None).statfs(os.fsencode(path), answer)
    return not failed and ctypes.c_uint32.from_buffer(answer).value in _LOCAL
