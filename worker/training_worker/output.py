"""A trainer's output goes to a file, not to a pipe, so that no reader can block or kill it.

Both streams share one file, and a line's number in it is the line's sequence number forever:
a process that continues after a crash knows what was already published. Lines that Python writes to
stderr begin with a mark; what C code writes there counts as stdout.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from pathlib import Path

from job_store.history_records import MAX_LOG_LINE_BYTES, LogLine

FILE_NAME = "output.log"
_BASE_NAME = "output.base"
_STDERR_MARK = b"\x1e"
_READ_BYTES = 1 << 18
_BATCH_LINES = 500


def redirect_output(folder: Path) -> None:
    """Send this process's stdout and stderr, C code's included, to the folder's file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    handle = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target in (1, 2):
        os.dup2(handle, target)
    os.close(handle)
    sys.stdout = _text(_FileWriter(1, b""))
    sys.stderr = _text(_FileWriter(2, _STDERR_MARK))


def _text(raw: io.RawIOBase) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        raw,  # type: ignore[arg-type]  # unbuffered: a line is with the kernel once it is printed
        encoding="utf-8",
        errors="replace",
        line_buffering=True,
    )


class _FileWriter(io.RawIOBase):
    """Writes to a descriptor, a mark in front of each line; a full disk costs the line alone."""

    def __init__(self, handle: int, mark: bytes) -> None:
        self._handle, self._mark = handle, mark
        self._at_start = True

    def fileno(self) -> int:
        return self._handle

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]
        # Every newline is followed by the mark, except one that nothing follows yet.
        inner, ending = (chunk[:-1], b"\n") if chunk.endswith(b"\n") else (chunk, b"")
        marked = inner.replace(b"\n", b"\n" + self._mark) + ending
        if self._at_start:
            marked = self._mark + marked
        self._at_start = bool(ending)
        with contextlib.suppress(OSError):
            os.write(self._handle, marked)
        return len(chunk)


class OutputReader:
    """Reads the file line by line; `peek` gives the same lines until `advance`.

    Args:
        folder: the attempt's.
        next_seq: first line to hand out; earlier ones are already published.
        max_bytes: the file is emptied once it is larger and has been read; None never does.
    """

    def __init__(self, folder: Path, next_seq: int = 0, max_bytes: int | None = None) -> None:
        self._path, self._base_path = folder / FILE_NAME, folder / _BASE_NAME
        self._max_bytes = max_bytes
        self._offset = 0
        self._seq = _read_number(self._base_path)
        self._next_seq = next_seq
        self._ahead: tuple[int, int] = (0, self._seq)

    def peek(self, *, final: bool = False) -> list[LogLine]:
        """Return the next lines. `final`: also a last one that has no newline."""
        while True:
            lines = self._read(final)
            unpublished = [line for line in lines if line.seq >= self._next_seq]
            if unpublished or not lines:
                return unpublished
            self.advance()

    def advance(self) -> None:
        """Go on behind the lines of the last `peek`, which are delivered."""
        self._offset, self._seq = self._ahead
        if self._max_bytes is not None and self._offset > self._max_bytes:
            self._empty()

    def rewind(self, next_seq: int) -> None:
        """Go on with line `next_seq`, as far as the file still holds it."""
        self._next_seq = next_seq
        self._offset, self._seq = 0, _read_number(self._base_path)

    def _read(self, final: bool) -> list[LogLine]:
        try:
            if os.stat(self._path).st_size == self._offset:
                return []  # looked at several times a second, and mostly nothing was printed
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_READ_BYTES)
        except FileNotFoundError:
            return []
        # Not splitlines: a carriage return does not end a line, see `_line`.
        rows = data.split(b"\n")
        rows = [row + b"\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
        rows = rows[:_BATCH_LINES]
        # A line longer than the buffer is handed out in pieces rather than waited for.
        if rows and not rows[-1].endswith(b"\n") and not final and len(data) < _READ_BYTES:
            rows.pop()
        now = int(time.time() * 1000)
        self._ahead = (self._offset + sum(map(len, rows)), self._seq + len(rows))
        return [_line(self._seq + i, row, now) for i, row in enumerate(rows)]

    def _empty(self) -> None:
        """Bound the file. Its writers append, so they go on at its new end."""
        if self._path.stat().st_size != self._offset:
            return  # more was written meanwhile; read that first
        temporary = self._base_path.with_suffix(".tmp")
        temporary.write_text(str(self._seq))
        temporary.replace(self._base_path)
        os.truncate(self._path, 0)
        self._offset, self._ahead = 0, (0, self._seq)


def output_tail(folder: Path, lines: int = 30, max_bytes: int = 6000) -> str:
    """Return the last lines of an attempt's output, for an error report."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - max_bytes))
            data = file.read()
    except OSError:
        return ""
    rows = data.replace(_STDERR_MARK, b"").decode("utf-8", errors="replace").splitlines()
    return "\n".join(rows[-lines:])


def _line(seq: int, row: bytes, time_ms: int) -> LogLine:
    source = "stderr" if row.startswith(_STDERR_MARK) else "stdout"
    text = row.removeprefix(_STDERR_MARK).rstrip(b"\r\n")[:MAX_LOG_LINE_BYTES]
    # A progress bar overwrites its line; the text that was visible last is kept.
    visible = text.rpartition(b"\r")[2].decode("utf-8", errors="replace")
    return LogLine(seq=seq, text=visible, time_ms=time_ms, source=source)


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
