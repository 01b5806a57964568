"""Text of JSON that is read on as far as a value needs: whole values, or long ones in pieces.

Standard library only: a control plane reads first records too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from app.training.data.errors import DataError
from app.training.data.parts import Place

EXAMPLE: Final = '{"text": "..."}'
LONG_CHARACTERS: Final = 1 << 21
"""A record of more is read in pieces, so that it costs no more memory than a text file."""
_SPACE: Final = " \t\r\n"
_LONGEST_TOKEN: Final = 16
"""Characters at the end of what was read within which a fault may be a matter of reading on."""
_LONGEST_NUMBER: Final = 4096
_NUMBER: Final = (
    r"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null|NaN|-?Infinity)"
)
_SCALAR: Final = re.compile(rf"{_NUMBER}(?![\w.+-])")
_SCALARS: Final = re.compile(rf"(?:{_NUMBER}[ \t\r\n]*+,[ \t\r\n]*+)*+")
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CHARACTERS: Final = re.compile(
    r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|'
    rf"{_HIGH}{_LOW}|{_HIGH}(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F])|"
    r"(?!\\u[dD][89abAB])\\u[0-9a-fA-F]{4})*+"
)
"""What a string is made of, as far as it is whole: an escape, or a pair of them, is never cut."""


class JsonText:
    """Text in blocks of which no more than a block and the current value is kept."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks, self._text, self._at = blocks, "", 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def next(self) -> str:
        """Return the first character behind white space, "" at the end."""
        while True:
            while self._at < len(self._text):
                if (character := self._text[self._at]) not in _SPACE:
                    return character
                self._at += 1
            if not self._read_on(1):
                return ""

    def take(self, character: str) -> bool:
        """Whether `character` comes next; then it is passed."""
        found = self.next() == character
        self._at += found
        return found

    def require(self, character: str, place: Place) -> None:
        """Pass `character`.

        Raises:
            DataError: Another one comes next.
        """
        if not self.take(character):
            raise self._fault(place, f"{character!r} is expected")

    def value(self, place: Place) -> dict[str, Any] | None:
        """Return the object that begins here; None, without moving on, where it is a long one."""
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_cut(error):
                    if len(self._text) - self._at > LONG_CHARACTERS:
                        return None
                    if self._read_on(len(self._text) - self._at):
                        continue
                self._at = error.pos
                raise self._fault(place, error.msg) from error
            except (ValueError, RecursionError) as error:
                raise unreadable(place, error) from None
            assert isinstance(value, dict)
            return value

    def string(self, place: Place) -> Iterator[str]:
        """Yield the string that begins here, in pieces."""
        self._at += 1
        while True:
            match = _CHARACTERS.match(self._text, self._at)
            end = match.end() if match else self._at
            if end > self._at:
                piece = f'"{self._text[self._at : end]}"'
                self._at = end
                yield json.loads(piece)
            if self._text[end : end + 1] == '"':
                self._at += 1
                return
            if len(self._text) - end >= _LONGEST_TOKEN or not self._read_on(1):
                raise self._fault(place, "a string has no such character and must end")

    def skip_scalar(self, place: Place) -> None:
        """Pass a number, `true`, `false` or `null`."""
        self.fill(_LONGEST_NUMBER)
        match = _SCALAR.match(self._text, self._at)
        if match is None or match.end() - self._at >= _LONGEST_NUMBER:
            raise self._fault(place, "a value is expected")
        self._at = match.end()

    def skip_scalars(self) -> None:
        """Pass the numbers and the like of an array, as many as were read with their commas."""
        self.next()
        if match := _SCALARS.match(self._text, self._at):
            self._at = match.end()

    def until(self, end: str, place: Place) -> tuple[str, bool]:
        """Pass what goes before `end`, or before the last comma of what was read; which of them."""
        self.fill(_LONGEST_NUMBER)
        if (found := self._text.find(end, self._at)) < 0:
            found = self._text.rfind(",", self._at)
        if found < 0:
            raise self._fault(place, f"{end!r} is expected")
        passed, is_end = self._text[self._at : found], self._text[found] == end
        self._at = found + 1
        return passed, is_end

    def ahead(self, characters: int) -> str:
        """Return what comes next, for a message."""
        return self._text[self._at :][:characters]

    def fill(self, characters: int) -> None:
        """Read on until so many characters lie ahead, or to the end."""
        if (missing := characters - (len(self._text) - self._at)) > 0:
            self._read_on(missing)

    def _fault(self, place: Place, why: str) -> DataError:
        return DataError(
            f"{place} is not JSON ({why} at {self.ahead(40)!r}); it must be one object such as "
            f"{EXAMPLE}; repair the file"
        )

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        near_end = error.pos >= len(self._text) - _LONGEST_TOKEN
        return near_end or error.msg.startswith("Unterminated string")

    def _read_on(self, characters: int) -> bool:
        """Read so many more, which doubles a value's text. False at the end of the file."""
        blocks, read = [self._text[self._at :]], 0
        while read < characters and not self._ended:
            block = next(self._blocks, "")
            self._ended = not block
            blocks.append(block)
            read += len(block)
        self._text, self._at = "".join(blocks), 0
        return read > 0


def unreadable(place: Place, error: ValueError | RecursionError) -> DataError:
    """Return the error for JSON that Python refuses: nested too deeply, or a number too long."""
    why = "is nested too deeply to be read" if isinstance(error, RecursionError) else str(error)
    return DataError(f"{place} {why}; it must be an object such as {EXAMPLE}; repair or remove it")
