"""Records that a list leaves out because they cannot be read: one of them hides no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from job_store.errors import JobStoreError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_MOST_REMEMBERED = 1000

_named: set[str] = set()


def readable(decode: Callable[..., T], rows: Iterable[Sequence[Any]]) -> Iterator[T]:
    """Yield what `decode` makes of each row, and leave out the rows that it cannot read."""
    for row in rows:
        try:
            yield decode(*row)
        except JobStoreError as error:
            left_out(error)


def left_out(error: JobStoreError) -> None:
    """Log why a list leaves a record out; once in a process, for lists are read often."""
    text = str(error)
    if text in _named:
        return
    if len(_named) >= _MOST_REMEMBERED:
        _named.clear()
    _named.add(text)
    _log.warning("left out of a list: %s", text)
