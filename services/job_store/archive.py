"""Old raw points, outside of Redis: segments in files of an artifact store, listed in the job.

When a job has more raw points than its bound, the worker writes the oldest to a file and makes it
durable. Then it enters the file in the archive index of their attempt, and at the same moment
Redis drops the points. Readers find each step in one of the two places.

A segment's file has three parts: a line that names the format; the length (uint32) of a JSON object
and the object itself, which maps each set of columns to its number; the entries, packed as
`visible.lua` does.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol

from job_store.charts import unpack_points
from job_store.errors import SegmentUnreadableError
from job_store.history_records import HistoryPoint

_FORMAT = b"training-engine points 1\n"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive raw points of one attempt's stream, in a file."""

    first_step: int
    last_step: int
    points: int
    size_bytes: int
    sha256: str
    """Of the file, lower-case hex."""
    artifact: str
    """Name of the file in the artifact store."""

    def encode(self) -> str:
        """Return the segment as the archive index holds it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def decode(stored: bytes) -> Segment:
        """Return the segment of an index entry."""
        return Segment(**json.loads(stored))

    def unreadable(self, why: str) -> SegmentUnreadableError:
        """Return the error that its file cannot be read."""
        return SegmentUnreadableError(self.artifact, self.first_step, self.last_step, why)


@dataclass(frozen=True, slots=True)
class Surplus:
    """The oldest raw points of a job that has too many of them in Redis."""

    attempt: int
    """The attempt whose stream holds them."""
    first_step: int
    last_step: int
    points: int
    document: bytes
    """The content of the segment's file."""


class SegmentReader(Protocol):
    """Reads segments' files."""

    async def read(self, segment: Segment) -> bytes:
        """Return the whole file, after its size and checksum were compared.

        Raises:
            SegmentUnreadableError: The file is missing or damaged.
        """


class NoArchive:
    """For a process that reads no artifacts."""

    async def read(self, segment: Segment) -> bytes:
        """Refuse.

        Raises:
            SegmentUnreadableError: Always: the process has no artifact store.
        """
        raise segment.unreadable("this process was given no artifact store")


def encode_document(schemas: Mapping[bytes, bytes], packed: bytes) -> bytes:
    """Return a segment's file, made of packed entries and `schemas`.

    `schemas` maps each set of columns (names with commas between them) to the number that the
    entries name it by.
    """
    columns = {name.decode(): int(number) for name, number in schemas.items()}
    head = json.dumps(columns, separators=(",", ":")).encode()
    return _FORMAT + _LENGTH.pack(len(head)) + head + packed


def open_document(document: bytes) -> tuple[dict[bytes, bytes], memoryview]:
    """Return the schemas of a segment's file and its packed entries, as `visible.lua` gives them.

    Raises:
        ValueError: The file has another format.
    """
    if not document.startswith(_FORMAT):
        raise ValueError(f"it begins with {document[:40]!r}, not with {_FORMAT!r}")
    start = len(_FORMAT) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(document, len(_FORMAT))
    columns = json.loads(document[start : start + length])
    schemas = {name.encode(): b"%d" % number for name, number in columns.items()}
    return schemas, memoryview(document)[start + length :]


async def read_visible(
    reader: SegmentReader,
    schemas: Mapping[bytes, bytes],
    packed: bytes,
    files: Sequence[Sequence[Any]],
    limit: int,
) -> list[HistoryPoint]:
    """Return the first `limit` points of a reply of `visible.lua`, ascending.

    Files are read in order and only as far as they are needed.

    Raises:
        SegmentUnreadableError: A file of old points cannot be read.
    """
    raw = list(islice(unpack_points(schemas, packed), limit))
    archived: list[HistoryPoint] = []
    for _, first, last, stored in files:
        missing = limit - len(archived)
        if missing <= 0:
            break
        segment = Segment.decode(stored)
        document = await reader.read(segment)
        try:
            points = unpack_points(*open_document(document), int(first), int(last))
            archived += islice(points, missing)
        except (ValueError, KeyError, struct.error) as error:
            raise segment.unreadable(str(error)) from error
    if not archived:
        return raw
    # The raw points of one attempt may come between the archived points of two others.
    return sorted(archived + raw, key=lambda point: point.step)[:limit]
