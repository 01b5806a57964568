"""A JSON record too long to be held in memory: its one field is read in pieces, the rest passed.

Standard library only: a control plane reads first records too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from app.training.data.errors import DataError
from app.training.data.json_text import JsonText, unreadable
from app.training.data.parts import Place

DEEPEST_NAME: Final = 3
"""Objects within a record, one in another, whose fields have names."""


class LongRecord:
    """An object in text of which nothing was passed; read once, to its end, by one of its methods.

    Args:
        ends_line: whether nothing but white space may be behind it.
    """

    def __init__(self, text: JsonText, place: Place, *, ends_line: bool = False) -> None:
        self._text, self._place, self._ends_line = text, place, ends_line
        self._names: list[str] = []

    def names(self) -> list[str]:
        """Return the names of its fields, those within objects as `a.b`.

        Raises:
            DataError: Data that cannot be used; raised before the first step.
        """
        for _ in self.field(""):
            pass
        return self._names

    def field(self, name: str) -> Iterator[str | list[Any]]:
        """Yield a field in pieces: strings of a string, lists of an array's values.

        Raises:
            DataError: The field is missing, something else, or there twice.
        """
        try:
            yield from self._object("", name)
        except RecursionError as error:
            raise unreadable(self._place, error) from None
        if self._ends_line and self._text.next():
            raise self._wrong(f"is followed by {self._text.ahead(40)!r}")
        if name and (times := self._names.count(name)) != 1:
            raise self._wrong(f"has `{name}` {times} times" if times else f"has no `{name}`")

    def _wrong(self, why: str) -> DataError:
        return DataError(
            f"{self._place} {why}; a record must be one object with that field once; repair or "
            "remove the record"
        )

    def _object(self, path: str, wanted: str, depth: int = 0) -> Iterator[str | list[Any]]:
        self._text.require("{", self._place)
        if self._text.take("}"):
            return
        while True:
            name = self._key(path)
            if depth <= DEEPEST_NAME:
                self._names.append(name)
            self._text.require(":", self._place)
            if wanted and name == wanted:
                yield from self._wanted(wanted)
            else:
                yield from self._value(name, wanted, depth)
            if self._text.take("}"):
                return
            self._text.require(",", self._place)

    def _key(self, path: str) -> str:
        if self._text.next() != '"':
            self._text.require('"', self._place)
        key = "".join(self._text.string(self._place))
        return f"{path}.{key}" if path else key

    def _value(self, name: str, wanted: str, depth: int) -> Iterator[str | list[Any]]:
        match self._text.next():
            case "{":
                yield from self._object(name, wanted, depth + 1)
            case "[":
                self._pass_array()
            case '"':
                for _ in self._text.string(self._place):
                    pass
            case _:
                self._text.skip_scalar(self._place)

    def _pass_array(self) -> None:
        self._text.require("[", self._place)
        if self._text.take("]"):
            return
        while True:
            self._text.skip_scalars()
            for _ in self._value("", "", DEEPEST_NAME + 1):
                pass
            if self._text.take("]"):
                return
            self._text.require(",", self._place)

    def _wanted(self, name: str) -> Iterator[str | list[Any]]:
        match self._text.next():
            case '"':
                yield from self._text.string(self._place)
            case "[":
                yield from self._array_pieces(name)
            case _:
                shown = self._text.ahead(60)
                raise self._wrong(f"has another value in `{name}` than text or ids ({shown!r})")

    def _array_pieces(self, name: str) -> Iterator[list[Any]]:
        """Yield the values of an array of numbers."""
        self._text.require("[", self._place)
        if self._text.take("]"):
            return
        is_last = False
        while not is_last:
            piece, is_last = self._text.until("]", self._place)
            try:
                values = json.loads(f"[{piece}]")
            except ValueError as error:
                raise self._wrong(f"has in `{name}` no numbers ({error})") from error
            if not values:
                raise self._wrong(f"has a comma too much in `{name}`")
            yield values
