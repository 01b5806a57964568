"""Exit codes of a trainer's process, as its parent reads them."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_FENCED = 3
EXIT_REPORTED = 4
"""Of rank 0: the attempt's end is reported, and the other processes are to be ended."""
