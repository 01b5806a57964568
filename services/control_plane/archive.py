"""Reads old metrics from the artifact store, where workers put what is too much for Redis."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from artifact_store import ArtifactError, ArtifactStore
from job_store.archive import Segment

_KEPT = 16
"""Segments in memory, about 400 KB each: a stream reads one in several goes."""


class ArtifactArchive:
    """A `job_store.archive.SegmentReader` whose files are artifacts."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._recent: OrderedDict[str, bytes] = OrderedDict()

    async def read(self, segment: Segment) -> bytes:
        """Return the segment's file, whole and with its recorded checksum.

        Raises:
            SegmentUnreadableError: The file cannot be read, or its checksum is another one.
        """
        document = self._recent.get(segment.sha256)
        if document is None:
            document = await asyncio.to_thread(self._load, segment)
            self._recent[segment.sha256] = document
        self._recent.move_to_end(segment.sha256)
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        return document

    def _load(self, segment: Segment) -> bytes:
        try:
            chunks = self._artifacts.open_range(segment.artifact, 0, segment.size_bytes + 1)
            document = b"".join(chunks)
        except (ArtifactError, OSError) as error:
            raise segment.unreadable(str(error)) from error
        if hashlib.sha256(document).hexdigest() != segment.sha256:
            raise segment.unreadable("its bytes are not those that were written")
        return document
