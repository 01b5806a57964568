"""Lines of JSON as records. Standard library only: a control plane reads first lines too."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.training import progress
from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.reading import open_permitted


def json_records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every record with its line. Raises `DataError` for a line that is no record."""
    with open_permitted(path) as file:
        for number, line in enumerate(file, 1):
            progress.advanced(len(line))
            if line.strip():
                place = Place(path, "line", number)
                yield place, json_record(line, place)


def json_record(line: bytes, place: Place) -> dict[str, Any]:
    """The record in a line. Raises `DataError`."""
    try:
        record = json.loads(line.removeprefix(BOM_UTF8).decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataError(
            f"{place} is not JSON in UTF-8 ({error}); each line must be one JSON object; repair or "
            "remove the line"
        ) from error
    except RecursionError:
        raise DataError(
            f"{place} is nested too deeply to be read; each line must be one JSON object such as "
            '{"text": "..."}; repair or remove the line'
        ) from None
    if not isinstance(record, dict):
        raise DataError(
            f"{place} is a {type(record).__name__}; each line must be one JSON object such as "
            '{"text": "..."}; repair or remove the line'
        )
    return record
