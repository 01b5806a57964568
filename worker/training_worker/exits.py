"""How a trainer's process ends: for its parent, and for the processes that train with it."""

from __future__ import annotations

from enum import Enum, auto

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_FENCED = 3
EXIT_REPORTED = 4
"""Of rank 0: the attempt's end is reported, and the other processes are to be ended."""

EXIT_AWAY = 5
"""The artifact store was away, and nothing was begun; the board says why."""


class End(Enum):
    """What an attempt that is reported means for the other processes of its run."""

    TOGETHER = auto()
    """All processes have trained to the end, or to the same stop."""
    FAILED_HERE = auto()
    """This process has failed, or never began to train."""
    PEER_FAILED = auto()
    """Another process has failed, and this one lost its connection to it."""
