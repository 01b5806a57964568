"""CSV and TSV with a header as records. Standard library only: a control plane asks it too."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

from app.training.data.errors import DataError
from app.training.data.formats import inner_name
from app.training.data.parts import Place
from app.training.data.text_files import text_lines

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_OTHER_DELIMITERS: Final = (",", "\t", ";", "|")


def table_columns(path: Path, column: str) -> list[str]:
    """Return the names in the first line.

    Raises:
        DataError: For an empty file.
    """
    return _header(path, column)[0]


def table_records(path: Path, column: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the rows below the header with the line where each ends."""
    names, delimiter = _header(path, column)
    with contextlib.closing(_rows(path, delimiter)) as rows:
        next(rows)
        for line, row in rows:
            if not row:
                continue
            place = Place(path, "line", line)
            if len(row) != len(names):
                raise DataError(
                    f"{place} has {len(row)} values, and the header has {len(names)} names; each "
                    "row must have as many; put quotes around values that hold the separator"
                )
            yield place, dict(zip(names, row, strict=True))


def _header(path: Path, column: str) -> tuple[list[str], str]:
    """Return the names, and the delimiter that makes `column` one of them if any does."""
    first = next(text_lines(path), None)
    if first is None:
        raise DataError(f"{str(path)!r} is empty; it must hold records; check the path")
    usual = _DELIMITERS[inner_name(path).suffix.lower()]
    for delimiter in (usual, *_OTHER_DELIMITERS):
        names = next(_rows(path, delimiter), (0, []))[1]
        if column in names:
            return names, delimiter
    return next(_rows(path, usual), (0, []))[1], usual


def _rows(path: Path, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
    csv.field_size_limit(sys.maxsize)
    with contextlib.closing(text_lines(path)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(
                f"{Place(path, 'line', reader.line_num)} is not a row of values ({error}); quotes "
                "must be closed and doubled within values; write the file again"
            ) from error
