"""Page sizes by AIP-158: absent is the default, too large the largest, negative an error."""

from __future__ import annotations

from control_plane.errors import invalid_argument

DEFAULT_PAGE = 50
LARGEST_PAGE = 1000
DEFAULT_LONG_PAGE = 1000
LARGEST_LONG_PAGE = 10_000


def page_size(asked: int, default: int = DEFAULT_PAGE, largest: int = LARGEST_PAGE) -> int:
    """Rows to return.

    Raises:
        RpcError: For a negative one.
    """
    if asked < 0:
        message = f"`page_size` is {asked}; it must be 0 (for {default}) or more; try {default}"
        raise invalid_argument("page_size", message)
    return min(asked, largest) if asked else default


def long_page_size(asked: int) -> int:
    """Rows to return of a list of small things: points, log lines."""
    return page_size(asked, DEFAULT_LONG_PAGE, LARGEST_LONG_PAGE)
