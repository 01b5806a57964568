"""Says that a run's preparation goes on, and how far it is: it reads and tokenizes for hours.

From outside, a process that tokenizes a terabyte looks like one that hangs. A listener can tell
them apart; without one a report costs a look-up. How far the work is, is asked of the files' own
positions, and only when somebody wants to know: counting costs the work nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, TypeVar

T = TypeVar("T")

Listener = Callable[[int], None]
"""Called with the bytes that were worked through since the last call; 0 for other work."""


Watcher = Callable[[str], None]
"""Called with the place of the text that the tokenizer works on, and with "" when it is done."""


def _nobody(size: int) -> None:
    """Do nothing: there are no listeners."""


WorkName = Literal["reading", "tokenizing", "training_tokenizer"]


class FileWork:
    """Work on files whose sizes are known, and how much of them is done.

    Args:
        total: bytes of all files as they are on the disk, compressed where they are; 0 for work
            that is not counted.
        passed: bytes of files that were done before.
    """

    def __init__(self, name: WorkName, total: int, passed: int = 0) -> None:
        self.name, self.total = name, total
        self._passed = passed
        self._position: Callable[[], int] | None = None

    @property
    def done(self) -> int:
        """Bytes of the files that were read, at most `total`."""
        here = self._position() if self._position else 0
        return min(self._passed + here, self.total)

    @contextmanager
    def file(self, position: Callable[[], int]) -> Iterator[None]:
        """Until the end of the block, `position` tells how much of the next file is read."""
        self._position = position
        try:
            yield
        finally:
            self._passed += position()
            self._position = None


class SourcesWork:
    """The data of several sources, worked through one after the other: one total, one bar.

    Args:
        sizes: bytes of each source's files.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes, self._begins = sizes, [sum(sizes[:number]) for number in range(len(sizes))]
        self._source = 0
        self._done: dict[WorkName, int] = {}

    @contextmanager
    def source(self, number: int) -> Iterator[None]:
        """Until the end of the block, this thread works on a source."""
        self._source, self._done = number, {}
        token = _sources.set(self)
        try:
            yield
        finally:
            _sources.reset(token)

    @contextmanager
    def part(self, name: WorkName, size: int) -> Iterator[FileWork]:
        """Yield the work on files of the source; the next of the name goes on where it ends."""
        done = self._done.get(name, 0)
        work = FileWork(name, sum(self._sizes), self._begins[self._source] + done)
        yield work
        self._done[name] = min(done + size, self._sizes[self._source])


_sources: ContextVar[SourcesWork | None] = ContextVar("sources_work", default=None)
_work: ContextVar[FileWork | None] = ContextVar("file_work", default=None)
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
def working(name: WorkName, total: int) -> Iterator[None]:
    """Until the end of the block, the files that this thread reads belong to this work."""
    sources = _sources.get() if total else None
    part = sources.part(name, total) if sources else nullcontext(FileWork(name, total))
    with part as work:
        token = _work.set(work)
        try:
            yield
        finally:
            _work.reset(token)


def work() -> FileWork | None:
    """Return the work that this thread does; None while it is none that is counted."""
    return _work.get()


def reading_file(position: Callable[[], int]) -> AbstractContextManager[None]:
    """Until the end of the block, `position` tells how much of a file of the work is read."""
    current = _work.get()
    return nullcontext() if current is None else current.file(position)


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
