"""What a Parquet file's footer says of its columns and rows, and where their pages are.

A control plane has no pyarrow, and should not hand files of others to a library in C++: asked where
a column is, pyarrow ends the process if the footer is damaged. Footer and headers are Thrift in its
compact protocol: https://parquet.apache.org/docs/file-format/metadata/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.training.data.errors import DataError

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the footer's length, uint32, and the magic
_LONGEST_FOOTER = 4 << 20
_DEEPEST = 8
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4  # fields of FileMetaData
_NAME, _CHILDREN = 4, 5  # fields of SchemaElement
_CHUNKS, _CHUNK = 1, 3  # fields of RowGroup and ColumnChunk
# Fields of ColumnMetaData.
_PATH, _CODEC, _VALUES, _STORED_BYTES, _DATA_PAGE, _DICTIONARY_PAGE = 3, 4, 5, 7, 9, 11


@dataclass(frozen=True, slots=True)
class Footer:
    """What a footer says."""

    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the values of one column in one row group are."""

    codec: int
    values: int
    start: int
    stored_size: int


def read_footer(path: Path) -> Footer | None:
    """Return a file's footer, None where it is too long or not understood.

    Raises:
        DataError: The file is certainly not a whole Parquet file.
        OSError: It cannot be read.
    """
    data = _footer_bytes(path)
    return None if data is None else _footer(data)


def read_chunks(path: Path, column: str) -> list[Chunk] | None:
    """Return a column's chunk of each row group, `a.b` within structs; else like `read_footer`."""
    data = _footer_bytes(path)
    try:
        groups = _Compact(data or b"").struct(last=_GROUPS)[_GROUPS]
        return [_chunk_of(group, column.encode()) for group in groups]
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _chunk_of(group: dict[int, Any], column: bytes) -> Chunk:
    (chunk,) = (each[_CHUNK] for each in group[_CHUNKS] if b".".join(each[_CHUNK][_PATH]) == column)
    start = whole_number(chunk, _DATA_PAGE)
    if chunk.get(_DICTIONARY_PAGE):  # some writers give zero where there is none
        start = min(start, whole_number(chunk, _DICTIONARY_PAGE))
    return Chunk(
        whole_number(chunk, _CODEC),
        whole_number(chunk, _VALUES),
        start,
        whole_number(chunk, _STORED_BYTES),
    )


def whole_number(fields: Any, field: int) -> int:
    """Return a number of a struct; raises `ValueError` where it is none, or negative."""
    value = fields.get(field) if isinstance(fields, dict) else fields
    if type(value) is not int or value < 0:
        raise ValueError(f"field {field} is {value!r}")
    return value


def _footer_bytes(path: Path) -> bytes | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        length = int.from_bytes(tail[:4], "little")
        if head != _MAGIC or tail[4:] != _MAGIC or length > size - _TAIL_BYTES:
            raise DataError(
                f"{str(path)!r} cannot be read as Parquet (it does not begin and end as such a "
                "file does); it must be a whole Parquet file; write it again"
            )
        if length > _LONGEST_FOOTER:
            return None
        file.seek(size - _TAIL_BYTES - length)
        return file.read(length)


def read_page_header(data: bytes) -> tuple[dict[int, Any], int]:
    """Return the fields of the page header that data begin with, and its length.

    Raises:
        IndexError, ValueError: There is none, or it is longer.
    """
    compact = _Compact(data)
    return compact.struct(), compact.at


def _footer(data: bytes) -> Footer | None:
    try:
        fields = _Compact(data).struct(last=_ROWS)
        root, *elements = fields[_SCHEMA]
        columns = []
        for _ in range(root[_CHILDREN]):
            columns.append(elements[0][_NAME].decode())
            elements = elements[_tree_size(elements) :]
        return Footer(tuple(columns), int(fields[_ROWS]))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _tree_size(elements: list[Any]) -> int:
    """How many elements of a schema in depth-first order belong to the first one."""
    size, open_ends = 0, 1
    while open_ends:
        open_ends += elements[size].get(_CHILDREN, 0) - 1
        size += 1
    return size


class _Compact:
    """Reads values of Thrift's compact protocol; raises `IndexError` or `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, last: int = 1 << 15, depth: int = 0) -> dict[int, Any]:
        """Return the fields of a struct by their ids, up to the field `last`."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) and number < last:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth)
            if number == last:
                break
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth=depth + 1)
        raise ValueError(f"a value of kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 != 15 else self._varint()
        if size > len(self._data):  # each element takes a byte at least
            raise ValueError("a list longer than the footer")
        if head & 15 in (1, 2):
            return [self._byte() == 1 for _ in range(size)]
        return [self._value(head & 15, depth + 1) for _ in range(size)]

    def _take(self, size: int) -> bytes:
        part = self._data[self.at : self.at + size]
        if len(part) != size:
            raise IndexError("cut off")
        self.at += size
        return part

    def _byte(self) -> int:
        return self._take(1)[0]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
