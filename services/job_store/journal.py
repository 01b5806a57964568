"""The journal: a copy of each record outside of Redis, made before the change is acknowledged.

An entry is the whole record as it is in Redis at that moment, with a number that grows. So the
entry with the largest number tells everything that was acknowledged, whichever processes wrote
entries and in whatever order; entries that are missing before it cost nothing. Only recovery reads
them: Redis stays the one truth.

The process that makes a change writes the entry. This package knows no files, so it gets a writer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from job_store.connection import AsyncConnection


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A record at one moment."""

    kind: str
    """`job`, `config` or `dataset`."""
    id: str
    revision: int
    """Grows with every entry of the record."""
    document: bytes
    """The record, as one line of JSON; see `scripts/journal_entry.lua`."""


class JournalWriter(Protocol):
    """Keeps entries where they survive the loss of Redis."""

    async def write(self, entry: JournalEntry) -> None:
        """Return once the entry is durable.

        Raises:
            NotJournaledError: It could not be written.
        """
        ...

    async def remove(self, kind: str, id: str) -> None:
        """Remove all entries of a deleted record, durably.

        Raises:
            NotJournaledError: They could not be removed.
        """
        ...


class Journal:
    """Acknowledges changes once they are in the server's file and in the journal.

    Args:
        writer: None for a process that keeps no journal: the server's file decides alone.
    """

    def __init__(self, connection: AsyncConnection, writer: JournalWriter | None) -> None:
        self._db = connection
        self._writer = writer

    async def acknowledge(self, memo_key: str, kind: str, id: str) -> None:
        """Return once both hold the change of this memo to this record. The two waits overlap.

        Raises:
            NotOnDiskError: The server has not confirmed the write in time.
            NotJournaledError: The entry could not be written.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        await _both(self._db.acknowledge(memo_key), self.record(kind, id))

    async def acknowledge_removal(self, memo_key: str, kind: str, id: str) -> None:
        """Return once a deletion is in the server's file, and the record's entries are removed.

        Raises:
            NotOnDiskError: The server has not confirmed the write in time.
            NotJournaledError: The entries could not be removed.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        await self._db.acknowledge(memo_key)
        if self._writer is not None:
            await self._writer.remove(kind, id)

    async def record(self, kind: str, id: str) -> None:
        """Write an entry of the record as it is now; do nothing where there is no record.

        Raises:
            NotJournaledError: The entry could not be written.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        if self._writer is None:
            return
        entry = read_entry(kind, id, await self._db.run("journal_entry", kind, id))
        if entry is None:
            return
        await self._writer.write(entry)
        if kind == "job" and was_deleted(await self._db.run("was_deleted", id)):
            await self._writer.remove(kind, id)


async def _both(*calls: Any) -> None:
    """Wait for all of them, and raise the first error: none is left running without a reader."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def read_entry(kind: str, id: str, reply: list[Any] | None) -> JournalEntry | None:
    """Return the entry of a reply of `journal_entry`; None where the record is gone."""
    if reply is None:
        return None
    return JournalEntry(kind, id, int(reply[0]), reply[1])


def was_deleted(reply: list[Any] | None) -> bool:
    """Return what a reply of the script `was_deleted` says.

    It is asked after each write: an entry that a frozen process writes late must not bring back a
    job that was deleted meanwhile.
    """
    return bool(reply and reply[0])
