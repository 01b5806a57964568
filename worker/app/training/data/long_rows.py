"""Rows of CSV that are too long to be held in memory: one field is read in pieces, the rest passed.

Standard library only, like `tables`, which reads all shorter rows with the module csv. Both read
the same dialect.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from app.training.data.errors import DataError
from app.training.data.json_text import LONG_CHARACTERS
from app.training.data.parts import Place
from app.training.data.text_files import BLOCK_BYTES, CONVERT, require_no_nul

_QUOTED: Final = re.compile(r'(?:[^"]++|"")*+')


class LongRowError(Exception):
    """A row is longer than `LONG_CHARACTERS`; `RowLines.held` has its beginning."""


class RowLines:
    """The lines of a table for `csv.reader`, which keeps those of the row that is being read.

    Args:
        read_line: reads the next line, at most so many bytes of it; see `line_reader`.
    """

    def __init__(self, read_line: Callable[[int], bytes], path: Path) -> None:
        self._read_line, self._path = read_line, path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_cut = False
        self._size = 0
        self.number = 0
        """Of the line that was read last, from 1."""
        self.held: list[str] = []
        """What was read of the row: whole lines, the last one perhaps cut."""

    def __iter__(self) -> Iterator[str]:
        """Yield the lines.

        Raises:
            LongRowError: The row is a long one.
            DataError: A line is not text.
        """
        while text := self.read():
            self.held.append(text)
            self._size += len(text)
            if self._is_cut or self._size >= LONG_CHARACTERS:
                raise LongRowError
            yield text

    def read(self) -> str:
        """Return the next line, or the next piece of a long one; "" at the end of the file."""
        while True:
            was_cut = self._is_cut
            line = self._read_line(LONG_CHARACTERS)
            self.number += bool(line) and not was_cut
            self._is_cut = len(line) >= LONG_CHARACTERS and not line.endswith(b"\n")
            text = self._decoded(line)
            if text or not line:
                return text

    def begin_row(self) -> None:
        """Forget the row that was read."""
        self.held, self._size = [], 0

    def _decoded(self, line: bytes) -> str:
        try:
            text = self._decoder.decode(line, final=not self._is_cut)
        except UnicodeDecodeError as error:
            place = Place(self._path, "line", self.number)
            raise DataError(f"{place} is not UTF-8 ({error.reason}); {CONVERT}") from error
        require_no_nul(text, repr(str(self._path)))
        return text


class LongRow:
    """A row of which nothing was passed; read once, to its end.

    Args:
        lines: those whose `held` is the row's beginning.
        names: of the header.
    """

    def __init__(self, lines: RowLines, path: Path, names: Sequence[str], delimiter: str) -> None:
        self._pieces = itertools.chain(lines.held, iter(lines.read, ""))
        self._names, self._delimiter = names, delimiter
        self._plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*+")
        self._text, self._at = "", 0
        self.place = Place(path, "line", lines.number - len(lines.held) + 1)
        """The line where the row begins."""

    def field(self, name: str) -> Iterator[str]:
        """Yield a field in pieces.

        Raises:
            DataError: The row has another number of values than the header, or is no CSV.
        """
        if name not in self._names:
            raise DataError(f"{self.place} has no `{name}`; name a column of the header")
        position = len(self._names) - 1 - self._names[::-1].index(name)
        number = 0
        while True:
            for piece in _gathered(self._value()):
                if number == position:
                    yield piece
            number += 1
            if not self._take(self._delimiter):
                break
        while self._take("\r"):
            pass
        if not self._take("\n") and self._next():
            raise self._fault(f"{self._delimiter!r} is expected at {self._text[self._at :][:40]!r}")
        require_as_many(number, self._names, self.place)

    def _value(self) -> Iterator[str]:
        if self._take('"'):
            return self._quoted()
        return self._unquoted()

    def _quoted(self) -> Iterator[str]:
        """Yield what is within quotes; a doubled quote in it is one."""
        while True:
            yield self._matching(_QUOTED).replace('""', '"')
            if len(self._text) - self._at > 1 or not self._read_on():
                break
        if not self._take('"'):
            raise self._fault("unexpected end of data")

    def _unquoted(self) -> Iterator[str]:
        while True:
            yield self._matching(self._plain)
            if self._at < len(self._text) or not self._read_on():
                return

    def _matching(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None  # each may be empty
        self._at = match.end()
        return match[0]

    def _next(self) -> str:
        if self._at == len(self._text):
            self._read_on()
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        found = self._next() == character
        self._at += found
        return found

    def _read_on(self) -> bool:
        piece = next(self._pieces, "")
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _fault(self, why: str) -> DataError:
        return not_a_row(self.place, why)


def _gathered(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the same text in fewer pieces: each costs as much as the text before it."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def not_a_row(place: Place, why: object) -> DataError:
    """Return the error for text that is no row of CSV."""
    return DataError(
        f"{place} is not a row of values ({why}); quotes must be closed and doubled within values; "
        "write the file again"
    )


def require_as_many(values: int, names: Sequence[str], place: Place) -> None:
    """Refuse a row that has more or fewer values than the header has names.

    Raises:
        DataError: It has.
    """
    if values != len(names):
        raise DataError(
            f"{place} has {values} values, and the header has {len(names)} names; each row must "
            "have as many; put quotes around values that hold the separator"
        )
