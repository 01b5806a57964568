"""The visible history as packed entries, for readers that take many points at a time."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from job_store.archive import NoArchive, Segment, SegmentReader, open_document
from job_store.connection import AsyncConnection
from job_store.errors import NotFoundError, SegmentUnreadableError
from job_store.ids import check_id
from job_store.keys import Keys
from job_store.records import LAST_STEP
from job_store.segments import ClaimedRange, claimed_ranges


@dataclass(frozen=True, slots=True)
class PackedPart:
    """Entries as `visible.lua` packs them; only those of steps from `first` to `last` count."""

    schemas: Mapping[bytes, bytes]
    packed: bytes | memoryview
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PackedPage:
    """At least as many points as were asked for, or all; and the attempts, read after them."""

    parts: Sequence[PackedPart]
    attempts: Mapping[int, ClaimedRange]


class PackedHistory:
    """Reads points without making an object of each.

    Args:
        connection: to Redis, which holds the newest points.
        archive: where older ones are read from.
    """

    def __init__(self, connection: AsyncConnection, archive: SegmentReader | None = None) -> None:
        self._db = connection
        self._archive = archive or NoArchive()
        self._keys = Keys(connection.prefix)

    async def page(self, job_id: str, first_step: int, points: int) -> PackedPage:
        """Return the points from a step on.

        Raises:
            NotFoundError: There is no such record.
            SegmentUnreadableError: A file of old points cannot be read.
        """
        check_id("job", job_id)
        reply = await self._db.run("read_points", job_id, first_step, LAST_STEP, points)
        schemas, packed, files, _ = reply or ([], b"", [], b"")
        parts = [await self._archived(job_id, file) for file in files]
        columns = dict(zip(schemas[::2], schemas[1::2], strict=True))
        parts.append(PackedPart(columns, packed, first_step, LAST_STEP))
        index = await self._db.command("HGETALL", self._keys.job(job_id, "attempts"))
        return PackedPage(parts, claimed_ranges(index))

    async def _archived(self, job_id: str, file: Sequence[Any]) -> PackedPart:
        _, first, last, stored = file
        segment = Segment.decode(stored)
        try:
            document = await self._archive.read(segment)
        except SegmentUnreadableError:
            if not await self._db.command("EXISTS", self._keys.job(job_id)):
                raise NotFoundError("job", job_id) from None  # it was deleted, with its files
            raise
        try:
            schemas, packed = open_document(document)
        except (ValueError, KeyError, struct.error) as error:  # of the file, or of its JSON
            raise segment.unreadable(str(error)) from error
        return PackedPart(schemas, packed, int(first), int(last))

    async def active(self) -> list[str]:
        """Return the ids of the jobs that workers hold."""
        found = await self._db.pipeline(
            ("ZRANGE", self._keys.index("running"), 0, -1),
            ("ZRANGE", self._keys.index("stopping"), 0, -1),
        )
        return [id.decode() for ids in found for id in ids]

    async def newest(self, count: int) -> list[str]:
        """Return the ids of the jobs that were made last."""
        found = await self._db.command("ZRANGE", self._keys.index("all"), 0, count - 1, "REV")
        return [id.decode() for id in found]

    async def missing(self, job_ids: Sequence[str]) -> list[str]:
        """Return those of the ids that no job has."""
        if not job_ids:
            return []
        found = await self._db.pipeline(*[("EXISTS", self._keys.job(id)) for id in job_ids])
        return [id for id, there in zip(job_ids, found, strict=True) if not there]
