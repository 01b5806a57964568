"""Page sizes by AIP-158: none means the default, too many the largest, fewer than 0 is an error."""

from __future__ import annotations

from control_plane.errors import invalid_argument

DEFAULT_PAGE = 50
LARGEST_PAGE = 1000
DEFAULT_LONG_PAGE = 1000
LARGEST_LONG_PAGE = 10_000


def page_size(requested: int, default: int = DEFAULT_PAGE, largest: int = LARGEST_PAGE) -> int:
    """Return the number of rows to answer with.

    Raises:
        RpcError: `requested` is negative.
    """
    if requested < 0:
        message = f"`page_size` is {requested}; it must be 0 (for {default}) or more; try {default}"
        raise invalid_argument("page_size", message)
    return min(requested, largest) if requested else default


def long_page_size(requested: int) -> int:
    """Return the number of rows to answer with in a list of points or log lines."""
    return page_size(requested, DEFAULT_LONG_PAGE, LARGEST_LONG_PAGE)
