"""Says that a run's preparation goes on: it reads, tokenizes or verifies, which may take hours.

From outside, a process that tokenizes a terabyte looks like one that hangs. A listener can tell
them apart; without one a report costs a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Listener = Callable[[int], None]
"""Called with the bytes that were worked through since the last call; 0 for other work."""


Watcher = Callable[[str], None]
"""Called with the place of the text that the tokenizer works on, and with "" when it is done."""


def _nobody(size: int) -> None:
    """Do nothing: there are no listeners."""


_listener: ContextVar[Listener] = ContextVar("progress_listener", default=_nobody)
_watcher: ContextVar[Watcher | None] = ContextVar("encoding_watcher", default=None)


@contextmanager
def reporting_to(listener: Listener) -> Iterator[None]:
    """Until the end of the block, `listener` hears of progress in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener:
    """Who listens now; for one that wants to hear more and pass it on."""
    return _listener.get()


def advanced(size: int) -> None:
    """Another `size` bytes are worked through."""
    _listener.get()(size)


@contextmanager
def encoding_shown_to(watcher: Watcher) -> Iterator[None]:
    """Until the end of the block, `watcher` hears what the tokenizer works on in this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def encode_at(place: object, encode: Callable[[], T]) -> T:
    """Call `encode` on the text at `place`, and let the watcher see that while it lasts.

    A tokenizer may work for ever on some text, and nothing in its process can run meanwhile.
    """
    watcher = _watcher.get()
    if watcher is None:
        return encode()
    watcher(str(place))
    try:
        return encode()
    finally:
        watcher("")
