"""Files of columns, Parquet and Arrow, whose one column is read in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROWS_PER_BATCH = 1024
_ARROW_FILE = b"ARROW1"


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """An open file."""

    schema: Any
    """pyarrow's schema."""
    column: Callable[[str], Iterator[Any]]
    """Yields arrays of a column's values in order."""
    rows: Callable[[list[str]], Iterator[Any]]
    """Yields record batches of some columns in order."""
    position: Callable[[], int]
    """Tells how many of the file's bytes were read, about."""
    close: Callable[[], None]

    def __enter__(self) -> ColumnFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_parquet(path: Path) -> ColumnFile:
    """Open a Parquet file.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowException: The file is damaged.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    read = _Share(path.stat().st_size, file.metadata.num_rows)

    def rows(names: list[str]) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=names):
            yield batch
            read.parts += len(batch)

    def column(name: str) -> Iterator[Any]:
        return (_within(batch, name) for batch in rows([name]))

    return ColumnFile(file.schema_arrow, column, rows, read.position, file.close)


@dataclass(slots=True)
class _Share:
    """How much of a file was read, in parts of about one size."""

    size: int
    all_parts: int
    parts: int = 0

    def position(self) -> int:
        return self.size * self.parts // max(self.all_parts, 1)


def open_arrow(path: Path) -> ColumnFile:
    """Open an Arrow file in either format: the stream's, as `datasets` writes, or the file's.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowException: The file is damaged.
    """
    import pyarrow as pa

    mapped = pa.memory_map(str(path))
    if mapped.read(len(_ARROW_FILE)) == _ARROW_FILE:
        file = pa.ipc.open_file(mapped)
        read = _Share(mapped.size(), file.num_record_batches)
        return _of_batches(file.schema, _batches(file, read), read.position, mapped.close)
    mapped.seek(0)
    stream = pa.ipc.open_stream(mapped)
    return _of_batches(stream.schema, iter(stream), mapped.tell, mapped.close)


def _batches(file: Any, read: _Share) -> Iterator[Any]:
    for number in range(file.num_record_batches):
        yield file.get_batch(number)
        read.parts += 1


def _of_batches(
    schema: Any, batches: Iterator[Any], position: Callable[[], int], close: Callable[[], None]
) -> ColumnFile:
    return ColumnFile(
        schema,
        lambda name: _sliced(_within(batch, name) for batch in batches),
        lambda names: _sliced(batch.select(names) for batch in batches),
        position,
        close,
    )


def _sliced(parts: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches in slices.

    A batch on disk may hold all rows; a slice costs the memory of its own rows only.
    """
    for part in parts:
        for start in range(0, len(part), _ROWS_PER_BATCH):
            yield _checked(part.slice(start, _ROWS_PER_BATCH))


def _checked(values: Any) -> Any:
    """Return values of an Arrow file whose offsets lead to places within it.

    pyarrow takes them as they are, and a wrong one would end the process. Text that is not UTF-8
    passes: its reader names the row.

    Raises:
        pyarrow.ArrowInvalid: The file is damaged.
    """
    import pyarrow as pa

    try:
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        is_text = isinstance(values, pa.StringArray | pa.LargeStringArray | pa.StringViewArray)
        if not (is_text and "UTF8" in str(error)):
            raise
    return values


def _within(batch: Any, name: str) -> Any:
    """Return a column of a batch, or for `a.b` the field `b` of a struct `a`; null where `a` is."""
    import pyarrow.compute as pc

    if (index := batch.schema.get_field_index(name)) >= 0:
        return batch.column(index)
    outer, *inner = name.split(".")
    return pc.struct_field(batch.column(batch.schema.get_field_index(outer)), inner)


def column_names(schema: Any) -> list[str]:
    """Return the names of columns, those within structs as `a.b`."""
    return [name for field in schema for name in _names(field)]


def _names(field: Any) -> Iterator[str]:
    import pyarrow as pa

    yield field.name
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from (f"{field.name}.{name}" for name in _names(inner))


def column_type(schema: Any, name: str) -> Any:
    """Return the type of a column or of a field within structs; None where there is none."""
    import pyarrow as pa

    if name in schema.names:
        return schema.field(name).type
    outer, *inner = name.split(".")
    kind = schema.field(outer).type if outer in schema.names else None
    for part in inner:
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind if inner else None
