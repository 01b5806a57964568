"""JSON as records: one in each line, or any sequence or array of them.

Standard library only: a control plane reads first lines too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.data.text_files import byte_lines, decoded_blocks

_EXAMPLE: Final = '{"text": "..."}'
_SPACE: Final = " \t\r\n"
_DEEPEST_NAME: Final = 3
_LONGEST_TOKEN: Final = 16
"""Characters at the end of what was read within which a fault may be a matter of reading on."""


def json_records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every record with its line. Raises `DataError` for a line that is no record."""
    for number, line in enumerate(byte_lines(path), 1):
        if line.strip():
            place = Place(path, "line", number)
            yield place, json_record(line, place)


def json_record(line: bytes, place: Place) -> dict[str, Any]:
    """The record in a line. Raises `DataError`."""
    rule = "each line must be one JSON object"
    try:
        record = json.loads(line.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataError(
            f"{place} is not JSON in UTF-8 ({error}); {rule}; repair or remove the line"
        ) from error
    except RecursionError:
        raise DataError(
            f"{place} is nested too deeply to be read; {rule} such as {_EXAMPLE}; repair or "
            "remove the line"
        ) from None
    if not isinstance(record, dict):
        raise DataError(
            f"{place} is a {type(record).__name__}; {rule} such as {_EXAMPLE}; repair or remove "
            "the line"
        )
    return record


def json_values(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the records of a `.json` file: an array of objects, or objects one after the other.

    Memory is bounded by the longest record. Raises `DataError` for anything else.
    """
    text = _Text(decoded_blocks(path))
    in_array = text.take("[")
    number = 0
    while (start := text.next()) and not (in_array and start == "]"):
        number += 1
        place = Place(path, "record", number)
        if start != "{":
            raise _no_object(place, f"begins with {start!r}")
        yield place, text.value(place)
        if in_array and not text.take(",") and text.next() not in ("]", ""):
            raise _no_object(place, "is not followed by a comma or the end of the array")
    if in_array and not text.take("]"):
        raise DataError(f"{str(path)!r} ends within an array; it is cut off; copy it again")
    if in_array and text.next():
        raise _no_object(Place(path, "record", number), "is followed by more than its array")


def _no_object(place: Place, why: str) -> DataError:
    return DataError(
        f"{place} {why}; a .json file must hold objects such as {_EXAMPLE}, in an array or one "
        "after the other; repair it"
    )


class _Text:
    """Text that is read on as far as a value needs."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks, self._text, self._at = blocks, "", 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def next(self) -> str:
        """The first character behind white space, "" at the end."""
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

    def value(self, place: Place) -> dict[str, Any]:
        """The object that begins here."""
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_cut(error) and self._read_on(len(self._text) - self._at):
                    continue
                raise DataError(
                    f"{place} is not JSON ({error.msg} at {self._text[error.pos :][:40]!r}); "
                    "it must be one object; repair the file"
                ) from error
            except RecursionError:
                raise DataError(
                    f"{place} is nested too deeply to be read; it must be an object such as "
                    f"{_EXAMPLE}; repair or remove it"
                ) from None
            assert isinstance(value, dict)
            return value

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


JsonKind = Literal["records", "object", "other"]


def kind_of_json(path: Path) -> tuple[JsonKind, frozenset[str]]:
    """Whether a `.json` file holds records, one object, or another thing, and the first's fields.

    Raises `DataError` for one that begins as records and is none.
    """
    text = _Text(decoded_blocks(path))
    in_array = text.take("[")
    if text.next() != "{":
        return "other", frozenset()
    first = text.value(Place(path, "record", 1))
    several = in_array or text.next() == "{"
    return ("records" if several else "object"), frozenset(field_names(first))


def field_names(record: Mapping[str, Any], depth: int = _DEEPEST_NAME) -> Iterator[str]:
    """Yield the names of a record's fields, those within objects as `a.b`."""
    for name, value in record.items():
        yield name
        if isinstance(value, dict) and depth:
            yield from (f"{name}.{inner}" for inner in field_names(value, depth - 1))


def field_value(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field, which may be within objects; None where there is none."""
    if name in record or "." not in name:
        return record.get(name)
    outer, _, inner = name.partition(".")
    value = record.get(outer)
    return field_value(value, inner) if isinstance(value, dict) else None
