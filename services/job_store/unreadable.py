"""Records that a list leaves out because they cannot be read: one of them hides no other."""

from __future__ import annotations

import logging

from job_store.errors import JobStoreError

_log = logging.getLogger(__name__)
_MOST_REMEMBERED = 1000

_named: set[str] = set()


def left_out(error: JobStoreError) -> None:
    """Log why a list leaves a record out; once in a process, for lists are read often."""
    text = str(error)
    if text in _named:
        return
    if len(_named) >= _MOST_REMEMBERED:
        _named.clear()
    _named.add(text)
    _log.warning("left out of a list: %s", text)
