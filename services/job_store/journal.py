"""The journal: a copy of each record outside of Redis, made before the change is acknowledged.

An entry is the whole record as it is in Redis at that moment, with a number that grows. So the
entry with the largest number tells everything that was acknowledged, whichever processes wrote
entries and in whatever order; entries that are missing before it cost nothing. Only recovery reads
them: Redis stays the one truth.

The process that makes a change writes the entry. This package knows no files, so it gets a writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from job_store.connection import AsyncConnection

_MOST = 32
"""Entries in a batch. They may share a file, which stays until the last of them is superfluous."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A record at one moment."""

    kind: str
    """`job`, `config`, `dataset` or `sweep`."""
    id: str
    revision: int
    """Grows with every entry of the record."""
    document: bytes
    """The record, as one line of JSON; see `scripts/journal_entry.lua`."""
    is_first: bool
    """Whether the record has no other entry yet."""


class JournalWriter(Protocol):
    """Keeps entries where they survive the loss of Redis."""

    async def write(self, entries: Sequence[JournalEntry]) -> None:
        """Return once the entries are durable.

        Raises:
            NotJournaledError: They could not be written.
        """

    async def remove(self, kind: str, id: str) -> None:
        """Remove all entries of a deleted record, durably.

        Raises:
            NotJournaledError: They could not be removed.
        """


class Journal:
    """Acknowledges changes once they are in the server's file and in the journal.

    Args:
        writer: None for a process that keeps no journal: the server's file decides alone.
    """

    def __init__(self, connection: AsyncConnection, writer: JournalWriter | None) -> None:
        self._db = connection
        self._writer = writer
        self._records = connection.batches(self._write, _MOST)

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
        if self._writer is not None:
            await self._records.add((kind, id))

    async def _write(self, records: Sequence[tuple[str, str]]) -> Sequence[None]:
        """Write an entry of each of these records (kind, id)."""
        assert self._writer is not None
        wanted = list(dict.fromkeys(records))
        replies = await self._db.run_each("journal_entry", wanted)
        read = [read_entry(*record, reply) for record, reply in zip(wanted, replies, strict=True)]
        entries = [entry for entry in read if entry is not None]
        if entries:
            await self._writer.write(entries)
        jobs = [entry.id for entry in entries if entry.kind == "job"]
        answers = await self._db.run_each("was_deleted", [(id,) for id in jobs])
        for id, answer in zip(jobs, answers, strict=True):
            if was_deleted(answer):
                await self._writer.remove("job", id)
        return [None] * len(records)


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
    return JournalEntry(kind, id, int(reply[0]), reply[1], is_first=bool(reply[2]))


def was_deleted(reply: list[Any] | None) -> bool:
    """Return what a reply of the script `was_deleted` says.

    It is asked after each write: an entry that a frozen process writes late must not bring back a
    job that was deleted meanwhile.
    """
    return bool(reply and reply[0])
