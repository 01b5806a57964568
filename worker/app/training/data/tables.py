"""CSV and TSV with a header as records. Standard library only: a control plane asks it too."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from app.training.data.errors import DataError
from app.training.data.formats import inner_name
from app.training.data.json_text import LONG_CHARACTERS
from app.training.data.long_rows import (
    LongRow,
    LongRowError,
    RowLines,
    not_a_row,
    require_as_many,
)
from app.training.data.parts import Place
from app.training.data.text_files import line_reader

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_OTHER_DELIMITERS: Final = (",", "\t", ";", "|")


def table_columns(path: Path, column: str) -> list[str]:
    """Return the names in the first line.

    Raises:
        DataError: For an empty file.
    """
    return _header(path, column)[0]


def table_records(path: Path, column: str) -> Iterator[tuple[Place, dict[str, Any] | LongRow]]:
    """Yield the rows below the header with the line where each ends, or a long one begins.

    A long row has to be read to its end before the next is asked for.
    """
    names, delimiter = _header(path, column)
    with line_reader(path) as read_line:
        lines = RowLines(read_line, path)
        rows = _rows(lines, path, delimiter)
        next(rows)
        while True:
            try:
                for row in rows:
                    if row:
                        place = Place(path, "line", lines.number)
                        require_as_many(len(row), names, place)
                        yield place, dict(zip(names, row, strict=True))
                return
            except LongRowError:
                long_row = LongRow(lines, path, names, delimiter)
            yield long_row.place, long_row
            rows = _rows(lines, path, delimiter)


def _header(path: Path, column: str) -> tuple[list[str], str]:
    """Return the names, and the delimiter that makes `column` one of them if any does."""
    usual = _DELIMITERS[inner_name(path).suffix.lower()]
    for delimiter in (usual, *_OTHER_DELIMITERS):
        if column in (names := _names(path, delimiter)):
            return names, delimiter
    return _names(path, usual), usual


def _names(path: Path, delimiter: str) -> list[str]:
    with line_reader(path) as read_line:
        try:
            names = next(_rows(RowLines(read_line, path), path, delimiter), None)
        except LongRowError:
            raise DataError(
                f"the first row of {str(path)!r} has more than {LONG_CHARACTERS:,} characters; it "
                "must be the header; put the columns' names there"
            ) from None
    if names is None:
        raise DataError(f"{str(path)!r} is empty; it must hold records; check the path")
    return names


def _rows(lines: RowLines, path: Path, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that follow; raises `LongRowError` at a long one."""
    csv.field_size_limit(sys.maxsize)
    lines.begin_row()
    try:
        for row in csv.reader(lines, delimiter=delimiter, strict=True):
            lines.begin_row()
            yield row
    except csv.Error as error:
        raise not_a_row(Place(path, "line", lines.number), error) from error
