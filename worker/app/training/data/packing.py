"""Which conversations share a window: as few windows as best fit, longest first, can do.

A pure function of the lengths, so that a resumed run finds the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Windows and what is in them."""

    members: Indices
    """Indices of conversations, those of one window together."""
    bounds: Indices
    """Window i has `members[bounds[i] : bounds[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def window(self, index: int) -> Indices:
        """Return the conversations of a window, in their order."""
        return self.members[self.bounds[index] : self.bounds[index + 1]]


def one_by_one(count: int) -> Packing:
    """Return a window for each conversation."""
    return Packing(np.arange(count), np.arange(count + 1))


def best_fit(lengths: Sequence[int] | Indices, capacity: int) -> Packing:
    """Put each conversation, from the longest on, where it leaves the least room.

    Takes a few microseconds a conversation. Lengths are at least 1 and at most `capacity`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    windows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is up where a window with room for r more tokens is open
    for index in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[index])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            window = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, window = capacity, len(windows)
            windows.append([])
        windows[window].append(index)
        if room > size:
            with_room[room - size].append(window)
            rooms |= 1 << (room - size)
    members = [index for window in windows for index in window]
    bounds = np.cumsum([0, *map(len, windows)])
    return Packing(np.array(members, dtype=np.int64), bounds.astype(np.int64))
