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
    close: Callable[[], None]

    def __enter__(self) -> ColumnFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_parquet(path: Path) -> ColumnFile:
    """Open a Parquet file. Raises `OSError` and `pyarrow.ArrowException`."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True)

    def column(name: str) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=[name]):
            yield batch.column(0)

    return ColumnFile(file.schema_arrow, column, file.close)


def open_arrow(path: Path) -> ColumnFile:
    """Open an Arrow file in either format: the stream's, as `datasets` writes, or the file's.

    Raises `OSError` and `pyarrow.ArrowException`.
    """
    import pyarrow as pa

    mapped = pa.memory_map(str(path))
    if mapped.read(len(_ARROW_FILE)) == _ARROW_FILE:
        file = pa.ipc.open_file(mapped)
        batches = map(file.get_batch, range(file.num_record_batches))
        return ColumnFile(file.schema, lambda name: _sliced(batches, name), mapped.close)
    mapped.seek(0)
    stream = pa.ipc.open_stream(mapped)
    return ColumnFile(stream.schema, lambda name: _sliced(iter(stream), name), mapped.close)


def _sliced(batches: Iterator[Any], name: str) -> Iterator[Any]:
    """A batch on disk may hold all rows; a slice of it costs the memory of its rows."""
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(name))
        for start in range(0, len(column), _ROWS_PER_BATCH):
            yield column.slice(start, _ROWS_PER_BATCH)
