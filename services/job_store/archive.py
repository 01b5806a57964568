"""Old raw points, outside of Redis: segments in files of an artifact store, listed in the job.

Beyond a job's bound the worker writes its oldest raw points to a file, makes it durable, and has
it entered in the archive index of their attempt, which is when Redis drops them. Readers find
each step in one of the two places.

A segment's file: a line that names the format; the length (uint32) of a JSON object that tells
which column set has which number; the entries, packed as `visible.lua` does.
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
from job_store.records import HistoryPoint

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


@dataclass(frozen=True, slots=True)
class Surplus:
    """The oldest raw points of a job that has too many of them in Redis."""

    attempt: int
    """Whose stream holds them."""
    first_step: int
    last_step: int
    points: int
    document: bytes
    """What a segment's file has to hold."""


class SegmentReader(Protocol):
    """Brings segments' files; see `job_store.errors.SegmentUnreadableError`."""

    async def read(self, segment: Segment) -> bytes:
        """Return the whole file, found to be what was written."""
        ...


class NoArchive:
    """For a process that reads no artifacts."""

    async def read(self, segment: Segment) -> bytes:
        """Return the bytes of a segment's file.

        Raises:
            SegmentUnreadableError: The file is missing or damaged.
        """
        raise SegmentUnreadableError(
            segment.artifact,
            segment.first_step,
            segment.last_step,
            "this process was given no artifact store",
        )


def encode_document(schemas: Mapping[bytes, bytes], packed: bytes) -> bytes:
    """Return a segment's file, made of packed entries and their schemas' columns.

    A column maps text to a number.
    """
    columns = {name.decode(): int(number) for name, number in schemas.items()}
    head = json.dumps(columns, separators=(",", ":")).encode()
    return _FORMAT + _LENGTH.pack(len(head)) + head + packed


def decode_document(document: bytes, first: int, last: int, limit: int) -> list[HistoryPoint]:
    """At most `limit` points of the steps `first` to `last`.

    Raises:
        ValueError: For another format.
    """
    if not document.startswith(_FORMAT):
        raise ValueError(f"it begins with {document[:40]!r}, not with {_FORMAT!r}")
    start = len(_FORMAT) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(document, len(_FORMAT))
    columns = json.loads(document[start : start + length])
    schemas = {name.encode(): b"%d" % number for name, number in columns.items()}
    points = unpack_points(schemas, memoryview(document)[start + length :], first, last)
    return list(islice(points, limit))


async def read_visible(
    reader: SegmentReader,
    schemas: Mapping[bytes, bytes],
    packed: bytes,
    files: Sequence[Sequence[Any]],
    limit: int,
) -> list[HistoryPoint]:
    """Return the first `limit` of the points that `visible.lua` has found, ascending.

    Files are read in order and only as far as they are needed.

    Raises:
        SegmentUnreadableError: A file of old points cannot be read.
    """
    raw = list(islice(unpack_points(schemas, packed), limit))
    archived: list[HistoryPoint] = []
    for _, first, last, stored in files:
        wanted = limit - len(archived)
        if wanted <= 0:
            break
        segment = Segment.decode(stored)
        document = await reader.read(segment)
        try:
            archived += decode_document(document, int(first), int(last), wanted)
        except (ValueError, KeyError, struct.error) as error:
            raise SegmentUnreadableError(
                segment.artifact, segment.first_step, segment.last_step, str(error)
            ) from error
    if not archived:
        return raw
    # The raw points of one attempt may come between the archived points of two others.
    return sorted(archived + raw, key=lambda point: point.step)[:limit]
