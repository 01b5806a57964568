"""Pages of a Parquet column that hold long texts, read in the memory of a few of their bytes.

pyarrow holds such a page three times: as it is stored, decompressed, and copied out. Here it is
decompressed in pieces into a file without a name, and its values are views of that file, mapped.
https://parquet.apache.org/docs/file-format/data-pages/ describes pages.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.training.data.cache import cache_directory
from app.training.data.parquet_footer import Chunk, read_chunks, read_page_header, whole_number
from app.training.data.snappy_blocks import decompressed_snappy, varint

LARGE_PAGE_BYTES: Final = 8 << 20
LONG_VALUE_BYTES: Final = 1 << 16
"""Values of a large page that are shorter on average are left to pyarrow, which is faster."""
_HEADER_BYTES: Final = 1 << 14
_BLOCK_BYTES: Final = 1 << 20
_ROWS_AT_ONCE: Final = 1024
_UNCOMPRESSED, _SNAPPY = 0, 1
_STREAMED: Final = {2: "gzip", 4: "brotli", 6: "zstd"}
_PLAIN, _OLD_DICTIONARY, _RUNS, _OF_DICTIONARY = 0, 2, 3, 8  # of the format's encodings
_SIZE: Final = struct.Struct("<I")
# Fields of PageHeader, then of both structs that it may have for a page of this reader.
_BYTES, _STORED_BYTES, _CHECKSUM, _DATA, _DICTIONARY = 2, 3, 4, 5, 7
_VALUES, _ENCODING, _LEVELS_ENCODING = 1, 2, 3

_Value = memoryview | None


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    stored_size: int
    size: int
    values: int
    is_dictionary: bool
    is_plain: bool
    checksum: int | None

    @property
    def holds_long_values(self) -> bool:
        is_large = self.size >= LARGE_PAGE_BYTES
        return is_large and self.size // max(self.values, 1) >= LONG_VALUE_BYTES


class LongTexts:
    """Reads the row groups of a file whose pages hold long texts.

    Args:
        file: pyarrow's `ParquetFile`.
        name: of a column of text, `a.b` within structs.
    """

    def __init__(self, file: Any, path: Path, name: str) -> None:
        schema = file.schema
        paths = [schema.column(i).path for i in range(len(schema))]
        is_one = paths.count(name) == 1
        self._metadata, self._path, self._name = file.metadata, path, name
        column = schema.column(paths.index(name) if is_one else 0)
        self._deepest = column.max_definition_level
        self._can_read = is_one and not column.max_repetition_level
        self._maps: list[mmap.mmap] = []

    def release(self) -> None:
        """Give the system the memory of what was read; what is used again is read again."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def by_groups(self) -> Iterator[tuple[list[int], Callable[[], Iterator[Any]] | None]]:
        """Yield row groups in order, with what yields the values of one in arrays.

        Those with None are for pyarrow to read. A group's pages are looked at when it is next.
        """
        small: list[int] = []
        chunks: list[Chunk] | None = None
        for number in range(self._metadata.num_row_groups):
            if self._metadata.row_group(number).total_byte_size < LARGE_PAGE_BYTES:
                small.append(number)
                continue
            if small:
                yield small, None
                small = []
            if chunks is None and self._can_read:
                chunks = read_chunks(self._path, self._name)
            yield [number], self._of_chunk(chunks[number]) if chunks else None
        if small:
            yield small, None

    def _of_chunk(self, chunk: Chunk) -> Callable[[], Iterator[Any]] | None:
        pages = _pages(self._path, chunk)
        if not any(page.holds_long_values for page in pages):
            return None
        return partial(self._arrays, pages, chunk.codec)

    def _arrays(self, pages: Sequence[_Page], codec: int) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from _in_arrays(self._values(pages, codec))
        except pa.ArrowException:
            raise
        except (IndexError, ValueError, struct.error) as error:
            raise pa.ArrowInvalid(f"a page is damaged: {error}") from error

    def _values(self, pages: Sequence[_Page], codec: int) -> Iterator[_Value]:
        dictionary: list[memoryview] = []
        kept: list[mmap.mmap] = []
        for page in pages:
            self._maps = list(kept)
            data = self._data(page, codec)
            if page.is_dictionary:
                dictionary, kept = list(_plain(data, page.values)), self._maps
            else:
                yield from _page_values(page, data, dictionary, self._deepest)

    def _data(self, page: _Page, codec: int) -> memoryview:
        """Return a page's bytes, decompressed."""
        pieces = _checked(_decompressed(self._path, page, codec), page.size)
        if page.size < LARGE_PAGE_BYTES:
            return memoryview(b"".join(pieces))
        with tempfile.TemporaryFile(dir=cache_directory(self._path)) as file:
            file.writelines(pieces)
            file.flush()
            self._maps.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        return memoryview(self._maps[-1])


def _pages(path: Path, chunk: Chunk) -> list[_Page]:
    """Return the pages of a chunk; none where they are written in a way that is not known here."""
    if chunk.codec not in (_UNCOMPRESSED, _SNAPPY, *_STREAMED):
        return []
    at, left, pages = chunk.start, chunk.values, []
    with path.open("rb", buffering=0) as file:
        while at < chunk.start + chunk.stored_size and left > 0:
            file.seek(at)
            try:
                page = _page(at, *read_page_header(file.read(_HEADER_BYTES)))
            except (IndexError, KeyError, TypeError, ValueError):
                return []
            left -= 0 if page.is_dictionary else page.values
            at = page.start + page.stored_size
            pages.append(page)
    return pages if left == 0 else []


def _page(at: int, header: dict[int, Any], size: int) -> _Page:
    """Return the page whose header is at a place; raises `ValueError` where it is not known."""
    is_dictionary = _DICTIONARY in header
    fields = header[_DICTIONARY if is_dictionary else _DATA]
    encoding = whole_number(fields, _ENCODING)
    if encoding not in (_PLAIN, _OLD_DICTIONARY, _OF_DICTIONARY):
        raise ValueError(f"the encoding {encoding}")
    if not is_dictionary and whole_number(fields, _LEVELS_ENCODING) != _RUNS:
        raise ValueError(f"levels of the encoding {fields[_LEVELS_ENCODING]}")
    if not isinstance(checksum := header.get(_CHECKSUM), int | None):
        raise ValueError(f"the checksum {checksum!r}")
    return _Page(
        start=at + size,
        stored_size=whole_number(header, _STORED_BYTES),
        size=whole_number(header, _BYTES),
        values=whole_number(fields, _VALUES),
        is_dictionary=is_dictionary,
        is_plain=is_dictionary or encoding == _PLAIN,
        checksum=checksum,
    )


def _decompressed(path: Path, page: _Page, codec: int) -> Iterator[Any]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        section = partial(file.get_stream, page.start, page.stored_size)
        _require_checksum(page, _blocks(section()))
        if codec == _SNAPPY:
            yield from decompressed_snappy(section(), page.size, lambda: section().read())
        elif codec in _STREAMED:
            yield from _blocks(pa.CompressedInputStream(section(), _STREAMED[codec]))
        else:
            yield from _blocks(section())


def _blocks(stream: Any) -> Iterator[bytes]:
    return iter(partial(stream.read, _BLOCK_BYTES), b"")


def _require_checksum(page: _Page, blocks: Iterator[bytes]) -> None:
    if page.checksum is None:
        return
    found = 0
    for block in blocks:
        found = zlib.crc32(block, found)
    if found != page.checksum & 0xFFFFFFFF:
        raise ValueError("its checksum is another one")


def _checked(pieces: Iterator[Any], size: int) -> Iterator[Any]:
    """Yield the pieces, which must be so many bytes."""
    for piece in pieces:
        size -= len(piece)
        if size < 0:
            break
        yield piece
    if size:
        raise ValueError("it has not the size that its header says")


def _page_values(
    page: _Page, data: memoryview, dictionary: Sequence[memoryview], deepest: int
) -> Iterator[_Value]:
    count = page.values
    is_there = np.ones(count, bool)
    if deepest:
        end = _SIZE.size + _SIZE.unpack_from(data)[0]
        is_there = _numbers(data[_SIZE.size : end], deepest.bit_length(), count) == deepest
        data, count = data[end:], int(is_there.sum())
    if page.is_plain:
        values = _plain(data, count)
    else:
        values = (dictionary[i] for i in (_numbers(data[1:], data[0], count) if count else ()))
    for is_present in is_there.tolist():
        yield next(values) if is_present else None


def _plain(data: memoryview, count: int) -> Iterator[memoryview]:
    at = 0
    for _ in range(count):
        start = at + _SIZE.size
        at = start + _SIZE.unpack_from(data, at)[0]
        if at > len(data):
            raise ValueError("a value ends behind it")
        yield data[start:at]


def _numbers(data: memoryview, width: int, count: int) -> npt.NDArray[np.int64]:
    """Return numbers of so many bits: runs of one number, and groups of eight that are packed."""
    if width == 0:
        return np.zeros(count, np.int64)
    if width > 32:
        raise ValueError(f"numbers of {width} bits")
    found = [np.zeros(0, np.int64)]
    at = size = 0
    while size < count:
        head, at = varint(data, at)
        if head & 1:
            end = at + (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(data[at:end], np.uint8), bitorder="little")
            numbers = bits.reshape(-1, width) @ (1 << np.arange(width))
        else:
            end = at + (width + 7) // 8
            repeated = int.from_bytes(data[at:end], "little")
            numbers = np.full(min(head >> 1, count - size), repeated, np.int64)
        if not numbers.size:
            raise ValueError("it ends before its end")
        at, size = end, size + numbers.size
        found.append(numbers)
    return np.concatenate(found)[:count]


def _in_arrays(values: Iterator[_Value]) -> Iterator[Any]:
    """Yield arrays of the values: a long one alone as a view, short ones together."""
    import pyarrow as pa

    held: list[bytes | None] = []
    size = 0
    for value in values:
        if value is not None and len(value) >= LONG_VALUE_BYTES:
            if held:
                yield _array(held)
            held, size = [], 0
            bounds = pa.py_buffer(np.array([0, len(value)], np.int64))
            yield pa.LargeStringArray.from_buffers(1, bounds, pa.py_buffer(value))
            continue
        held.append(value if value is None else bytes(value))
        size += len(value or b"")
        if len(held) == _ROWS_AT_ONCE or size >= _BLOCK_BYTES:
            yield _array(held)
            held, size = [], 0
    if held:
        yield _array(held)


def _array(values: list[bytes | None]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.large_binary()).view(pa.large_string())
