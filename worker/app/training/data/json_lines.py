"""JSON as records: one in each line, or any sequence or array of them.

Standard library only: a control plane reads first lines too.
"""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from app.training.data.errors import DataError
from app.training.data.json_text import EXAMPLE, LONG_CHARACTERS, JsonText
from app.training.data.long_records import DEEPEST_NAME, LongRecord
from app.training.data.parts import Place
from app.training.data.text_files import (
    BLOCK_BYTES,
    CONVERT,
    beginning,
    decoded_blocks,
    line_reader,
)

Record = dict[str, Any] | LongRecord
"""A long one has to be read to its end before the next is asked for."""


def json_records(path: Path) -> Iterator[tuple[Place, Record]]:
    """Yield every record with its line.

    Raises:
        DataError: A line is not a record.
    """
    with line_reader(path) as read_line:
        number = 0
        while line := read_line(LONG_CHARACTERS):
            number += 1
            place = Place(path, "line", number)
            if len(line) >= LONG_CHARACTERS and not line.endswith(b"\n"):
                text = JsonText(_rest_of_line(line, read_line, place))
                yield place, LongRecord(text, place, ends_line=True)
            elif line.strip():
                yield place, json_record(line, place)


def _rest_of_line(line: bytes, read_line: Callable[[int], bytes], place: Place) -> Iterator[str]:
    """Yield the text of a long line whose beginning was read."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while line:
        is_whole = line.endswith(b"\n")
        try:
            text = decoder.decode(line)
        except UnicodeDecodeError as error:
            raise DataError(f"{place} is not UTF-8 ({error.reason}); {CONVERT}") from error
        if text:
            yield text
        line = b"" if is_whole else read_line(BLOCK_BYTES)


def json_record(line: bytes, place: Place) -> dict[str, Any]:
    """Return the record in a line.

    Raises:
        DataError: The line is not one JSON object in UTF-8.
    """
    rule = "each line must be one JSON object"
    try:
        record = json.loads(line.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataError(
            f"{place} is not JSON in UTF-8 ({error}); {rule}; repair or remove the line"
        ) from error
    except RecursionError:
        raise DataError(
            f"{place} is nested too deeply to be read; {rule} such as {EXAMPLE}; repair or "
            "remove the line"
        ) from None
    if not isinstance(record, dict):
        raise DataError(
            f"{place} is a {type(record).__name__}; {rule} such as {EXAMPLE}; repair or remove "
            "the line"
        )
    return record


def json_values(path: Path) -> Iterator[tuple[Place, Record]]:
    """Yield the records of a `.json` file: an array of objects, or objects one after the other.

    Raises:
        DataError: For anything else.
    """
    with contextlib.closing(decoded_blocks(path)) as blocks:
        yield from _values(JsonText(blocks), path)


def _values(text: JsonText, path: Path) -> Iterator[tuple[Place, Record]]:
    in_array = text.take("[")
    number = 0
    while (start := text.next()) and not (in_array and start == "]"):
        number += 1
        place = Place(path, "record", number)
        if start != "{":
            raise _no_object(place, f"begins with {start!r}")
        yield place, _record(text, place)
        if in_array and not text.take(",") and text.next() not in ("]", ""):
            raise _no_object(place, "is not followed by a comma or the end of the array")
    if in_array and not text.take("]"):
        raise DataError(f"{str(path)!r} ends within an array; it is cut off; copy it again")
    if in_array and text.next():
        raise _no_object(Place(path, "record", number), "is followed by more than its array")


def _record(text: JsonText, place: Place) -> Record:
    value = text.value(place)
    return LongRecord(text, place) if value is None else value


def _no_object(place: Place, why: str) -> DataError:
    return DataError(
        f"{place} {why}; a .json file must hold objects such as {EXAMPLE}, in an array or one "
        "after the other; repair it"
    )


def fields_of_lines(path: Path) -> frozenset[str]:
    """Return the fields of the first record; none where the first two lines are no records."""
    try:
        if not beginning(path).startswith("{"):
            return frozenset()
        fields = [frozenset(record_names(each)) for _, each in islice(json_records(path), 2)]
    except DataError:  # no records, or no text at all
        return frozenset()
    return fields[0] if fields else frozenset()


JsonKind = Literal["records", "object", "other"]


def kind_of_json(path: Path) -> tuple[JsonKind, frozenset[str]]:
    """Whether a `.json` file holds records, one object, or another thing, and the first's fields.

    Raises:
        DataError: It begins as records and continues as something else.
    """
    with contextlib.closing(decoded_blocks(path)) as blocks:
        return _kind(JsonText(blocks), path)


def _kind(text: JsonText, path: Path) -> tuple[JsonKind, frozenset[str]]:
    in_array = text.take("[")
    if text.next() != "{":
        return "other", frozenset()
    place = Place(path, "record", 1)
    names = frozenset(record_names(_record(text, place)))
    several = in_array or text.next() == "{"
    return ("records" if several else "object"), names


def record_names(record: Record) -> list[str]:
    """Return the names of a record's fields, those within objects as `a.b`."""
    return record.names() if isinstance(record, LongRecord) else list(field_names(record))


def field_names(record: Mapping[str, Any], depth: int = DEEPEST_NAME) -> Iterator[str]:
    """Yield the names of a record's fields, those within objects as `a.b`."""
    for name, value in record.items():
        yield name
        if isinstance(value, dict) and depth:
            yield from (f"{name}.{inner}" for inner in field_names(value, depth - 1))


def field_value(record: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field, which may be within objects; None where there is none."""
    if name in record or "." not in name:
        return record.get(name)
    outer, _, inner = name.partition(".")
    value = record.get(outer)
    return field_value(value, inner) if isinstance(value, dict) else None
