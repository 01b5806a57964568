"""Sends an artifact's bytes only as far as they are those that were registered."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from weakref import WeakValueDictionary

from artifact_store import (
    ArtifactDamagedError,
    ArtifactStat,
    GuardedStore,
    OffsetOutOfRangeError,
)
from job_store.records import CheckpointRecord

_REMEMBERED = 10_000

_Version = tuple[str, str]
"""Key, and what changes with the bytes behind it."""


class VerifiedDownloads:
    """Opens files, and remembers of each version whether its bytes have the registered sha256.

    A whole file is hashed on its way out: its last piece is held back until the sum is right, so
    no client takes a damaged file for complete. For a part the whole is read first, once.
    """

    def __init__(self) -> None:
        self._sound: OrderedDict[_Version, bool] = OrderedDict()
        self._verifying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(
        self, artifacts: GuardedStore, record: CheckpointRecord, offset: int, length: int
    ) -> Iterator[bytes]:
        """Return the pieces from `offset` on, `length` bytes of them (0: all).

        Raises:
            ArtifactDamagedError: Here or before the last piece of a whole file; Raises
                `ArtifactNotFoundError`, `OffsetOutOfRangeError`, `ArtifactStoreAwayError`.
        """
        size = record.size_bytes
        found = await asyncio.to_thread(artifacts.stat, record.artifact)
        if found.size_bytes != size:
            raise ArtifactDamagedError(
                record.artifact, f"{found.size_bytes} bytes", f"{size} bytes"
            )
        if offset > size:
            raise OffsetOutOfRangeError(record.artifact, offset, size)
        whole = offset == 0 and length in (0, size)
        if not whole and offset < size:
            await self._verify(artifacts, record, found)
        if self._sound.get(_version(found)) is False:
            raise _damaged(record)
        chunks = await asyncio.to_thread(
            artifacts.open_range, record.artifact, offset, length or None
        )
        return self._hashed(chunks, record, found) if whole else chunks

    async def _verify(
        self, artifacts: GuardedStore, record: CheckpointRecord, found: ArtifactStat
    ) -> None:
        lock = self._verifying.setdefault(record.artifact, asyncio.Lock())
        async with lock:  # of many parts that are asked for at once, one has the whole read
            if _version(found) not in self._sound:
                self._remember(found, await asyncio.to_thread(_is_sound, artifacts, record))

    def _hashed(
        self, chunks: Iterator[bytes], record: CheckpointRecord, found: ArtifactStat
    ) -> Iterator[bytes]:
        digest, held = hashlib.sha256(), b""
        for chunk in chunks:
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        sound = digest.hexdigest() == record.sha256
        self._remember(found, sound)
        if not sound:
            raise _damaged(record)
        yield held

    def _remember(self, found: ArtifactStat, sound: bool) -> None:
        self._sound[_version(found)] = sound
        while len(self._sound) > _REMEMBERED:
            self._sound.popitem(last=False)


def _version(found: ArtifactStat) -> _Version:
    return found.key, found.version


def _is_sound(artifacts: GuardedStore, record: CheckpointRecord) -> bool:
    try:
        artifacts.verify(record.artifact, size_bytes=record.size_bytes, sha256=record.sha256)
    except ArtifactDamagedError:
        return False
    return True


def _damaged(record: CheckpointRecord) -> ArtifactDamagedError:
    return ArtifactDamagedError(record.artifact, "another sha256", f"sha256 {record.sha256}")
