"""Sends an artifact's bytes, and refuses an artifact whose bytes have changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from weakref import WeakValueDictionary

from artifact_store import (
    ArtifactDamagedError,
    ArtifactInfo,
    ArtifactStat,
    GuardedStore,
    OffsetOutOfRangeError,
)
from job_store.records import CheckpointRecord

_REMEMBERED = 10_000

_Version = tuple[str, str]
"""The key, and a mark that changes with the bytes behind it."""


class VerifiedDownloads:
    """Opens files, and remembers of each version whether its bytes have the registered sha256.

    A whole file is hashed on its way out: its last piece is held back until the sum is right, so
    no client takes a damaged file for complete. Before a part is sent, the whole file is read once.
    """

    def __init__(self) -> None:
        self._sound: OrderedDict[_Version, bool] = OrderedDict()
        self._verifying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(
        self, artifacts: GuardedStore, record: CheckpointRecord, offset: int, length: int
    ) -> Iterator[bytes]:
        """Return the pieces from `offset` on, `length` bytes of them (0: all).

        Raises:
            ArtifactDamagedError: The bytes are not the registered ones; of a whole file this may
                be raised as late as in place of its last piece.
            ArtifactNotFoundError: The file is missing.
            OffsetOutOfRangeError: `offset` is beyond the end of the file.
            ArtifactStoreAwayError: The store is away, or another one.
        """
        size = record.size_bytes
        stat = await self._look(artifacts, record, offset)
        whole = offset == 0 and length in (0, size)
        if not whole and offset < size:
            await self._verify(artifacts, record, stat)
        if self._sound.get(_version(stat)) is False:
            raise _damaged(record)
        chunks = await asyncio.to_thread(
            artifacts.open_range, record.artifact, offset, length or None
        )
        return self._hashed(chunks, record, stat) if whole else chunks

    async def presign(
        self, artifacts: GuardedStore, record: CheckpointRecord, offset: int, seconds: float
    ) -> str:
        """Return an address of the whole file for so long; empty where the store has none.

        Raises the errors of `open`, but nothing reads the file, so it may be damaged.
        """
        stat = await self._look(artifacts, record, offset)
        if self._sound.get(_version(stat)) is False:
            raise _damaged(record)
        return await asyncio.to_thread(artifacts.presigned_url, record.artifact, seconds)

    async def _look(
        self, artifacts: GuardedStore, record: CheckpointRecord, offset: int
    ) -> ArtifactStat:
        stat = await asyncio.to_thread(artifacts.stat, record.artifact)
        size = record.size_bytes
        if stat.size_bytes != size:
            raise ArtifactDamagedError(record.artifact, f"{stat.size_bytes} bytes", f"{size} bytes")
        if offset > size:
            raise OffsetOutOfRangeError(record.artifact, offset, size)
        return stat

    async def _verify(
        self, artifacts: GuardedStore, record: CheckpointRecord, stat: ArtifactStat
    ) -> None:
        lock = self._verifying.setdefault(record.artifact, asyncio.Lock())
        async with lock:  # many parts may be asked for at once; the whole is read for one of them
            if _version(stat) not in self._sound:
                self._remember(stat, await asyncio.to_thread(_is_sound, artifacts, record))

    def _hashed(
        self, chunks: Iterator[bytes], record: CheckpointRecord, stat: ArtifactStat
    ) -> Iterator[bytes]:
        digest, held = hashlib.sha256(), b""
        for chunk in chunks:
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        sound = digest.hexdigest() == record.sha256
        self._remember(stat, sound)
        if not sound:
            raise _damaged(record)
        yield held

    def _remember(self, stat: ArtifactStat, sound: bool) -> None:
        self._sound[_version(stat)] = sound
        while len(self._sound) > _REMEMBERED:
            self._sound.popitem(last=False)


def _version(stat: ArtifactStat) -> _Version:
    return stat.key, stat.version


def _is_sound(artifacts: GuardedStore, record: CheckpointRecord) -> bool:
    try:
        artifacts.verify(ArtifactInfo(record.artifact, record.size_bytes, record.sha256))
    except ArtifactDamagedError:
        return False
    return True


def _damaged(record: CheckpointRecord) -> ArtifactDamagedError:
    return ArtifactDamagedError(record.artifact, "another sha256", f"sha256 {record.sha256}")
