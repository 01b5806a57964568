"""Files of columns, Parquet and Arrow, whose one column is read in batches."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.data.parquet_pages import LongTexts

_ROWS_PER_BATCH = 1024
_BUFFER_BYTES = 1 << 20
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
    release: Callable[[], object]
    """Gives the system the memory of what was read; what is used again is read again."""
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

    # A stream, since a mapped file is in memory as a whole column of a row group, read or not yet.
    file = pq.ParquetFile(
        path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
    )
    read = _Share(path.stat().st_size, file.metadata.num_rows)
    maps: list[LongTexts] = []

    def batches(names: list[str], groups: Sequence[int] | None = None) -> Iterator[Any]:
        return file.iter_batches(_ROWS_PER_BATCH, groups, names)  # type: ignore[no-any-return]

    def values(name: str) -> Iterator[Any]:
        from app.training.data.parquet_pages import LongTexts  # it needs NumPy

        long_texts = LongTexts(file, path, name)
        maps[:] = [long_texts]
        for groups, arrays in long_texts.by_groups():
            if arrays is None:
                yield from map(partial(_within, name=name), batches([name], groups))
            else:
                yield from arrays()

    def release() -> None:
        for each in maps:
            each.release()

    return ColumnFile(
        file.schema_arrow,
        lambda name: read.counted(values(name)),
        lambda names: read.counted(batches(names)),
        read.position,
        release,
        file.close,
    )


def release_freed_memory() -> None:
    """Give the system what pyarrow keeps of freed memory: as much as it ever held at once.

    For the end of reading: the next file would use it again, and page faults take 2 % of the time.
    """
    if "pyarrow" in sys.modules:
        import pyarrow as pa

        pa.default_memory_pool().release_unused()


@dataclass(slots=True)
class _Share:
    """How much of a file was read, in parts of about one size."""

    size: int
    all_parts: int
    parts: int = 0

    def position(self) -> int:
        return self.size * self.parts // max(self.all_parts, 1)

    def counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches of rows, which must be as many as the parts.

        Raises:
            pyarrow.ArrowInvalid: They are fewer or more: pages and footer do not agree.
        """
        import pyarrow as pa

        self.parts = 0
        for batch in batches:
            self.parts += len(batch)
            yield batch
            del batch  # its memory is needed for the next
        if self.parts != self.all_parts:
            raise pa.ArrowInvalid(f"it has {self.parts} rows, and its footer says {self.all_parts}")


def open_arrow(path: Path) -> ColumnFile:
    """Open an Arrow file in either format: the stream's, as `datasets` writes, or the file's.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowException: The file is damaged.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise pa.ArrowInvalid("it is empty")
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    source = pa.BufferReader(pa.py_buffer(mapped))
    position: Callable[[], int] = source.tell
    if mapped[: len(_ARROW_FILE)] == _ARROW_FILE:
        opened = pa.ipc.open_file(source)
        read = _Share(len(mapped), opened.num_record_batches)
        batches, position = _batches(opened, read), read.position
    else:
        opened = pa.ipc.open_stream(source)
        batches = iter(opened)
    return ColumnFile(
        opened.schema,
        lambda name: _sliced(map(partial(_within, name=name), batches)),
        lambda names: _sliced(map(methodcaller("select", names), batches)),
        position,
        lambda: mapped.madvise(mmap.MADV_DONTNEED),
        source.close,
    )


def _batches(file: Any, read: _Share) -> Iterator[Any]:
    for number in range(file.num_record_batches):
        read.parts += 1
        yield file.get_batch(number)


def _sliced(parts: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches in slices.

    A batch on disk may hold all rows; a slice costs the memory of its own rows only.
    """
    for part in parts:
        for start in range(0, len(part), _ROWS_PER_BATCH):
            yield _checked(part.slice(start, _ROWS_PER_BATCH))


def _checked(values: Any) -> Any:
    """Return values of an Arrow file whose offsets lead to places within it.

    pyarrow takes them as they are, and a wrong one would end the process. Whether text is UTF-8 is
    left to its reader, who names the row.

    Raises:
        pyarrow.ArrowInvalid: The file is damaged.
    """
    import pyarrow as pa

    as_bytes = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }
    is_text = isinstance(values, pa.Array) and values.type in as_bytes
    (values.view(as_bytes[values.type]) if is_text else values).validate(full=True)
    return values


def text_values(column: Any) -> Iterator[memoryview | None]:
    """Yield the text of each row as it is in the column's memory; None where it is null."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        of_dictionary = list(text_values(column.dictionary))
        for index in column.indices.to_pylist():
            yield None if index is None else of_dictionary[index]
        return
    if types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    _, bounds, held = column.buffers()
    is_large = types.is_large_string(column.type)
    places = memoryview(bounds).cast("q" if is_large else "i")[column.offset :]
    text = memoryview(held or b"")
    is_null = column.is_null().to_pylist() if column.null_count else None
    for row in range(len(column)):
        yield None if is_null and is_null[row] else text[places[row] : places[row + 1]]


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
