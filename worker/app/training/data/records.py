"""Files of records (JSON, CSV, Parquet, Arrow) read in bounded memory.

Whatever is wrong with a record is one `DataError` with the file and the line or row: no attempt
that reads the same file again could end otherwise.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.column_files import (
    ColumnFile,
    column_names,
    column_type,
    open_arrow,
    open_parquet,
    text_values,
)
from app.training.data.conversations import conversation_columns
from app.training.data.errors import IDS_END, DataError, require_id
from app.training.data.formats import Content, DataFile
from app.training.data.json_lines import (
    Record,
    field_value,
    json_records,
    json_values,
    record_names,
)
from app.training.data.json_text import LONG_CHARACTERS
from app.training.data.long_records import LongRecord
from app.training.data.long_rows import LongRow
from app.training.data.parts import DOCUMENT_END, Part, Piece, Place
from app.training.data.tables import table_columns, table_records
from app.training.data.tar_files import tar_records
from app.training.data.text_files import BLOCK_BYTES
from app.training.reading import permitted

_COLUMNAR = frozenset({"parquet", "arrow"})
_TABLES = frozenset({"csv", "tsv"})
_IDS_AT_ONCE = 1 << 18


def record_columns(file: DataFile, text_column: str) -> list[str]:
    """Return the names that the records of a file have, by its schema, header or first record."""
    path = file.path
    if file.form in _COLUMNAR:
        with _open_columns(file) as columns:
            return column_names(columns.schema)
    if file.form in _TABLES:
        return table_columns(path, text_column)
    for _, record in _json_records(file):
        return record_names(record)
    raise DataError(f"{str(path)!r} is empty; it must hold records; check the path")


def record_pieces(file: DataFile, content: Content, text_column: str) -> Iterator[Piece]:
    """Yield the documents of a file of records in order."""
    if file.form in _COLUMNAR:
        return _column_pieces(file, content, text_column)
    return _plain_pieces(file, content, text_column)


def conversation_records(
    file: DataFile, text_column: str
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield the records of a file in order, of columns those that make a conversation."""
    if file.form in _COLUMNAR:
        yield from _rows(file)
        return
    for place, record in _plain_records(file, text_column):
        if isinstance(record, LongRecord | LongRow):
            raise DataError(
                f"{place} is longer than {LONG_CHARACTERS:,} characters; a conversation is encoded "
                "as a whole and must be shorter; divide it, or remove the record"
            )
        yield place, record


def _rows(data: DataFile) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    with _open_columns(data) as file, progress.reading_file(file.position):
        columns = conversation_columns(file.schema.names)
        if columns is None:
            raise DataError(
                f"{str(data.path)!r} has the columns {sorted(file.schema.names)}; it must hold "
                "conversations like the other files; rename its columns"
            )
        names, row = columns.names, 0
        for batch in _batches(file.rows(names), data.path, ", ".join(names)):
            progress.advanced(batch.nbytes)
            for record in _values(batch, data.path, row):
                row += 1
                yield Place(data.path, "row", row), record


def _values(batch: Any, path: Path, before: int) -> list[Mapping[str, Any]]:
    try:
        values: list[Mapping[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError as error:
        where = f"row {before + 1} to {before + len(batch)} of {str(path)!r}"
        raise DataError(
            f"{where} hold text that is not UTF-8 ({error.reason}); write the columns again"
        ) from None
    return values


def _plain_records(file: DataFile, text_column: str) -> Iterator[tuple[Place, Record | LongRow]]:
    if file.form in _TABLES:
        return table_records(file.path, text_column)
    return _json_records(file)


def _json_records(file: DataFile) -> Iterator[tuple[Place, Record]]:
    if file.form == "tar":
        return tar_records(file.path)
    return json_values(file.path) if file.form == "json" else json_records(file.path)


def _plain_pieces(file: DataFile, content: Content, text_column: str) -> Iterator[Piece]:
    for place, record in _plain_records(file, text_column):
        if isinstance(record, LongRecord | LongRow):
            yield from _long_pieces(record, place, content, text_column)
        elif content == "input_ids":
            yield Part(_ids(record.get(content), place), place)
        else:
            value = field_value(record, text_column)
            yield Part(_text(value, place, text_column), place)
        yield DOCUMENT_END


def _long_pieces(
    record: LongRecord | LongRow, place: Place, content: Content, text_column: str
) -> Iterator[Piece]:
    if content == "input_ids":
        for values in record.field(content):
            yield Part(_ids(values, place), place)
        return
    read = 0
    for value in record.field(text_column):
        yield Part(_text(value, place, text_column, read), place)
        read += len(value)


def _text(value: object, place: Place, name: str, before: int = 0) -> str:
    if not isinstance(value, str):
        raise _wrong_field(place, name, "a string", value)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        lone = value[error.start]
        rule = "text must be whole Unicode; write the character itself, or leave the half out"
        raise DataError(
            f"`{name}` in {place} holds {lone!r} at character {before + error.start}, half of a "
            f"surrogate pair; {rule}"
        ) from None
    return value


def _ids(value: object, place: Place) -> npt.NDArray[np.int64]:
    if not isinstance(value, list) or not all(type(i) is int for i in value):
        raise _wrong_field(place, "input_ids", "a list of integers", value)
    for i in value and (min(value), max(value)):
        require_id(place, i)
    return np.array(value, dtype=np.int64)


def _wrong_field(place: Place, name: str, rule: str, value: object) -> DataError:
    shown = "missing" if value is None else repr(value)[:60]
    return DataError(
        f"`{name}` in {place} is {shown}; it must be {rule}; repair or remove the record"
    )


def _column_pieces(data: DataFile, content: Content, text_column: str) -> Iterator[Piece]:
    path, name = data.path, text_column if content == "text" else content
    with _open_columns(data) as file, progress.reading_file(file.position):
        _require_column(file, path, name, content)
        row = 1
        for column in _columns(file, path, name):
            progress.advanced(column.nbytes)
            if column.null_count:
                missing = row + _first_null(column)
                raise _wrong_field(Place(path, "row", missing), name, "present", None)
            if content == "text":
                yield from _texts(column, path, row, name, file.release)
            else:
                yield from _lists_of_ids(column, path, row, file.release)
            row += len(column)
            del column  # its memory is needed for the next
            file.release()


def _open_columns(file: DataFile) -> ColumnFile:
    import pyarrow as pa

    path = permitted(file.path)
    try:
        opened = open_parquet(path) if file.form == "parquet" else open_arrow(path)
        _ = column_names(opened.schema)  # decodes them
        return opened
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = file.form.capitalize()
        raise DataError(
            f"{str(path)!r} cannot be read as {kind} ({error}); it must be a whole {kind} file; "
            "write it again"
        ) from error


def _require_column(file: ColumnFile, path: Path, name: str, content: Content) -> None:
    kind = column_type(file.schema, name)
    if kind is None:
        raise DataError(
            f"{str(path)!r} has the columns {sorted(file.schema.names)}; it must have "
            f"`{name}` like the other files; rename its column"
        )
    if not _is_kind(kind, content):
        rule = "strings" if content == "text" else "lists of integers"
        raise DataError(
            f"column `{name}` of {str(path)!r} holds {kind}; it must hold {rule}; convert the "
            "column"
        )


def _columns(file: ColumnFile, path: Path, name: str) -> Iterator[Any]:
    """Yield the column in batches."""
    return _batches(file.column(name), path, name)


def _batches(batches: Iterator[Any], path: Path, name: str) -> Iterator[Any]:
    """Yield batches of rows. A damaged page is the file's fault, an I/O error is not."""
    import pyarrow as pa

    rows = 0
    while True:
        try:
            column = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DataError(
                f"column `{name}` of {str(path)!r} cannot be read past row {rows} ({error}); "
                "the file is damaged, or written in a way that this reader does not know; write "
                "it again"
            ) from error
        if column is None:
            return
        rows += len(column)
        yield column
        del column


def _first_null(column: Any) -> int:
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _texts(
    column: Any, path: Path, first_row: int, name: str, release: Callable[[], object]
) -> Iterator[Piece]:
    if column.nbytes > LONG_CHARACTERS:
        yield from _long_texts(column, path, first_row, name, release)
        return
    try:
        texts = column.to_pylist()
    except UnicodeDecodeError:
        _blame_text(column, path, first_row, name)
        raise
    for row, text in enumerate(texts, first_row):
        if text is None:  # a null in the dictionary of a column, which its null count leaves out
            raise _wrong_field(Place(path, "row", row), name, "present", None)
        yield Part(text, Place(path, "row", row))
        yield DOCUMENT_END


def _long_texts(
    column: Any, path: Path, first_row: int, name: str, release: Callable[[], object]
) -> Iterator[Piece]:
    """Decode the texts of a column from its own memory, in pieces."""
    for row, held in enumerate(text_values(column), first_row):
        place = Place(path, "row", row)
        if held is None:
            raise _wrong_field(place, name, "present", None)
        decoder = codecs.getincrementaldecoder("utf-8")()
        for end in range(BLOCK_BYTES, len(held) + BLOCK_BYTES, BLOCK_BYTES):
            try:
                text = decoder.decode(held[end - BLOCK_BYTES : end], end >= len(held))
            except UnicodeDecodeError:
                _blame_text(column, path, first_row, name)
                raise
            yield Part(text, place)
            if end < len(held):
                release()
        yield DOCUMENT_END


def _blame_text(column: Any, path: Path, first_row: int, name: str) -> None:
    """Raise `DataError` for the first row whose text is not UTF-8."""
    for row, value in enumerate(column, first_row):
        try:
            value.as_py()
        except UnicodeDecodeError as error:
            raise DataError(
                f"`{name}` in {Place(path, 'row', row)} is not UTF-8: byte {error.start} is "
                f"0x{error.object[error.start]:02x}; text must be UTF-8; write the column again"
            ) from None


def _lists_of_ids(
    column: Any, path: Path, first_row: int, release: Callable[[], object]
) -> Iterator[Piece]:
    """Yield the ids of a batch, a row's in views of arrays that are converted one at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, sizes = column.flatten(), pc.list_value_length(column).to_numpy(zero_copy_only=False)
    ids, at, converted = np.empty(0, np.int64), 0, 0
    for row, end in enumerate(np.cumsum(sizes).tolist(), first_row):
        while at < end:
            if at == converted:
                release()
                try:
                    ids = _converted(flat.slice(at, _IDS_AT_ONCE))
                except pa.ArrowInvalid:
                    _blame_ids(column, path, first_row)
                    raise
                converted += len(ids)
            start, stop = at - converted, min(end - converted, 0)
            yield Part(ids[start : stop or None], Place(path, "row", row))
            at = converted + stop
        yield DOCUMENT_END


def _converted(values: Any) -> npt.NDArray[np.int64]:
    import pyarrow as pa

    if values.null_count:
        raise pa.ArrowInvalid("a null among the ids")
    ids: npt.NDArray[np.int64] = values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < IDS_END:
        raise pa.ArrowInvalid("an id out of range")
    return ids


def _blame_ids(column: Any, path: Path, first_row: int) -> None:
    """Raise `DataError` for the first row whose ids cannot be taken."""
    for row, value in enumerate(column, first_row):
        place, ids = Place(path, "row", row), value.as_py()
        if None in ids:
            where = f"position {ids.index(None)} of `input_ids` in {place}"
            raise DataError(f"{where} is null; every id must be an integer; remove the null")
        for i in ids and (min(ids), max(ids)):
            require_id(place, i)


def _is_kind(kind: Any, content: Content) -> bool:
    import pyarrow.types as types

    if content == "text":
        value = kind.value_type if types.is_dictionary(kind) else kind
        is_long = types.is_large_string(value)
        return bool(types.is_string(value) or is_long or types.is_string_view(value))
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_integer(kind.value_type))
