"""A job's columns in a file: chunks of rows, appended, each column with its checksum.

The file is a copy that may be lost. It is not synced: after a crash of the machine a chunk may be
incomplete or wrong, which its length and the checksums tell, and then the rows are read again.

A chunk has the lengths of its two parts (uint32 each), a JSON object in as many bytes as make the
columns begin at a multiple of 8, and the columns, little-endian doubles.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control_plane.series.growing import Floats

_FORMAT = b"training-engine columns 1\n".ljust(32, b".")
_HEAD = struct.Struct("<II")
_DOUBLE = 8


class DamagedColumnsError(Exception):
    """A column of the file is not what was written."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of the file."""

    offset: int
    """Of the chunk in the file."""
    columns_at: int
    rows: int
    names: Sequence[str]
    checksums: Sequence[int]
    spans: Sequence[tuple[int, str, int]]
    """Attempt, claim and number of rows, one after the other."""
    first_step: float
    verified: set[str] = field(default_factory=set)

    @property
    def end(self) -> int:
        """Where the next chunk begins."""
        return self.columns_at + self.rows * _DOUBLE * len(self.names)


class ColumnFile:
    """Appends chunks to a file and reads their columns by memory map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks: list[Chunk] = []
        self._bytes: NDArray[np.uint8] | None = None

    def open(self) -> None:
        """Read what the file has; a file of another format counts as empty."""
        with suppress(OSError, ValueError, KeyError, TypeError, struct.error):
            if self._map()[: len(_FORMAT)].tobytes() == _FORMAT:
                self._read_heads(self._map())

    def _map(self) -> NDArray[np.uint8]:
        if self._bytes is None:
            # A plain view: each slice of a memmap is one too, which takes ten times as long.
            self._bytes = np.memmap(self.path, np.uint8, mode="r").view(np.ndarray)
        return self._bytes

    def _read_heads(self, content: NDArray[np.uint8]) -> None:
        offset = len(_FORMAT)
        while offset + _HEAD.size <= len(content):
            length, checksum = _HEAD.unpack(content[offset : offset + _HEAD.size].tobytes())
            columns_at = offset + _HEAD.size + length
            text = content[offset + _HEAD.size : columns_at].tobytes()
            if zlib.crc32(text) != checksum:
                return
            chunk = Chunk(offset, columns_at, **json.loads(text))
            if chunk.end > len(content):
                return
            self.chunks.append(chunk)
            offset = chunk.end

    def append(self, columns: Mapping[str, Floats], spans: Sequence[tuple[int, str, int]]) -> None:
        """Write a chunk behind the last one.

        Raises:
            OSError: The file cannot be written.
        """
        written = [np.ascontiguousarray(column, "<f8").tobytes() for column in columns.values()]
        steps = next(iter(columns.values()))
        head = {
            "rows": len(steps),
            "names": list(columns),
            "checksums": [zlib.crc32(each) for each in written],
            "spans": spans,
            "first_step": float(steps[0]),
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _DOUBLE)
        offset = self.chunks[-1].end if self.chunks else len(_FORMAT)
        self._write(offset, _HEAD.pack(len(text), zlib.crc32(text)) + text + b"".join(written))
        self.chunks.append(Chunk(offset, offset + _HEAD.size + len(text), **head))  # type: ignore[arg-type]
        self._bytes = None

    def _write(self, offset: int, chunk: bytes) -> None:
        """Write a chunk at an offset, as the end of the file.

        A file is never made shorter, since whoever still reads a map of it would be killed: what
        stays is copied to a new one.
        """
        if self.chunks and self.path.stat().st_size == offset:
            with self.path.open("ab") as file:
                file.write(chunk)
            return
        kept = self.path.read_bytes()[:offset] if self.chunks else _FORMAT
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(kept + chunk)
        fresh.replace(self.path)

    def column(self, chunk: Chunk, name: str) -> Floats:
        """Return a column of a chunk; NaN where it has none of that name.

        Raises:
            DamagedColumnsError: The bytes are not those that were written.
        """
        if name not in chunk.names:
            return np.full(chunk.rows, np.nan)
        place = chunk.names.index(name)
        size = chunk.rows * _DOUBLE
        start = chunk.columns_at + place * size
        found = self._map()[start : start + size]
        if name not in chunk.verified:
            if len(found) != size or zlib.crc32(found.data) != chunk.checksums[place]:
                raise DamagedColumnsError(f"column {name} of {self.path} is damaged")
            chunk.verified.add(name)
        return found.view("<f8")

    def drop_last(self) -> None:
        """Forget the last chunk; the next one is written over it."""
        self.chunks.pop()

    def delete(self) -> None:
        """Delete the file."""
        self.chunks.clear()
        self._bytes = None
        self.path.unlink(missing_ok=True)
