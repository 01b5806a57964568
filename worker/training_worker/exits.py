"""How a trainer's process ends: for its parent, and for the processes that train with it."""

from __future__ import annotations

from enum import Enum, auto

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_FENCED = 3
EXIT_REPORTED = 4
"""Of rank 0: the attempt's end is reported, and the other processes are to be ended."""


class End(Enum):
    """What an attempt that is reported means for the other processes of its run."""

    TOGETHER = auto()
    """All have come to the end of their training."""
    ALONE = auto()
    """This one has failed, or never began to train."""
    AFTER_ANOTHER = auto()
    """Another one is gone."""
