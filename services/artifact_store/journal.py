"""The journal's files: what the service's records were after each change, for the loss of Redis.

Each entry is an artifact of its own, `journal/{kind}s/{id}/{revision}-{checksum}.json`, and holds
the whole record. Nothing is ever appended: on a file system that machines share, two writers that
append to one file may overwrite each other's lines, and object stores know no append. Entries of
several writers have different names, so none can damage another's; the largest number counts.

An entry makes those before it superfluous. One of them is kept, for the case that the newest is
damaged later.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from artifact_store.errors import ArtifactNotFoundError
from artifact_store.keys import JOURNAL_PREFIX, journal_prefix
from artifact_store.store import ArtifactStore

_NAME = re.compile(r"(\d{16})-([0-9a-f]{8})\.json", re.ASCII)
_KEPT = 2
_COMPLETE = f"{JOURNAL_PREFIX}/complete.txt"


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry of the journal as it is in the store."""

    revision: int
    document: bytes
    is_whole: bool
    """False where its bytes are not those that were written."""


class JournalFiles:
    """The entries in an artifact store. Errors of the store pass through all methods."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def write(self, kind: str, id: str, revision: int, document: bytes) -> None:
        """Store an entry, durably; then remove those before the newest two."""
        prefix = journal_prefix(kind, id)
        self._store.put(f"{prefix}/{revision:016d}-{zlib.crc32(document):08x}.json", [document])
        for name in self._store.names(prefix)[:-_KEPT]:
            self._store.delete(f"{prefix}/{name}")

    def remove(self, kind: str, id: str) -> None:
        """Remove all entries of a record, durably."""
        self._store.delete_prefix(journal_prefix(kind, id))

    def set_complete(self) -> None:
        """Record that each record has an entry, so that one without was deleted."""
        self._store.put(_COMPLETE, [b"each job, configuration and dataset has an entry\n"])

    def is_complete(self) -> bool:
        """Whether each record has an entry; False in the store of a release without a journal."""
        try:
            self._store.stat(_COMPLETE)
        except ArtifactNotFoundError:
            return False
        return True

    def ids(self, kind: str) -> list[str]:
        """Return the ids of the records of a kind that have entries."""
        return self._store.names(f"{JOURNAL_PREFIX}/{kind}s")

    def entries(self, kind: str, id: str) -> Iterator[FoundEntry]:
        """Yield the entries of a record, the newest first."""
        prefix = journal_prefix(kind, id)
        for name in reversed(self._store.names(prefix)):
            if match := _NAME.fullmatch(name):
                try:
                    document = b"".join(self._store.open_range(f"{prefix}/{name}"))
                except ArtifactNotFoundError:
                    continue  # a newer one has been written meanwhile
                whole = zlib.crc32(document) == int(match[2], 16)
                yield FoundEntry(int(match[1]), document, whole)
