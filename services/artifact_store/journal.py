"""The journal's files: copies of the service's records, to rebuild them when Redis has lost them.

Each change of a record writes an entry with the whole record. An entry is an artifact,
`journal/{kind}s/{second}/{id}.{revision}-{checksum}.json`, where `second` is when the record was
created, taken from its id. The entry with the largest revision is the newest. Nothing is ever
appended: on a file system that machines share, two writers that append to one file may overwrite
each other's lines, and object stores cannot append. Entries of several writers have different
names, so no writer can damage the entry of another.

Entries that are written at the same time may share a file, with one line each. The checksum in the
name is the line's CRC-32, and says which line is meant.

An entry makes those before it superfluous. One of them is kept, for the case that the newest is
damaged later.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from artifact_store.errors import ArtifactNotFoundError
from artifact_store.keys import JOURNAL_PREFIX, journal_prefix
from artifact_store.store import ArtifactStore

_NAME = re.compile(r"(\w+)\.(\d{16})-([0-9a-f]{8})\.json", re.ASCII)
_KEPT = 2
"""Entries of a record that stay: the newest and the one before it."""
_COMPLETE = f"{JOURNAL_PREFIX}/complete-2.txt"
"""Its name has the version of the layout above: a store that only has the file of an older layout
counts as incomplete, so every record gets an entry in the new layout."""
_MARK = f"{JOURNAL_PREFIX}/mark.txt"
"""A number that Redis has as well, and raises first. Where Redis has the smaller one, it was
replaced by an older state, such as a backup."""


class Entry(Protocol):
    """A record at one moment."""

    @property
    def kind(self) -> str:
        """`job`, `config` or `dataset`."""

    @property
    def id(self) -> str:
        """The record's id."""

    @property
    def revision(self) -> int:
        """Grows with every entry of the record."""

    @property
    def document(self) -> bytes:
        """The record, as one line."""

    @property
    def is_first(self) -> bool:
        """Whether the record has no other entry yet."""


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

    def write(self, *entries: Entry) -> None:
        """Store entries, durably; then remove all but the newest two of each record."""
        self._store.put_together({_key(entry): entry.document for entry in entries})
        for kind, id in {(entry.kind, entry.id) for entry in entries if not entry.is_first}:
            for name in self._names(kind, id)[:-_KEPT]:  # sorted, so the newest come last
                self._store.delete(f"{journal_prefix(kind, id)}/{name}")

    def remove(self, kind: str, id: str) -> None:
        """Remove all entries of a record, durably."""
        self._store.delete_names(journal_prefix(kind, id), f"{id}.")

    def set_complete(self) -> None:
        """Note that each record has an entry. From now on, files without an entry are leftovers."""
        self._store.put(_COMPLETE, [b"each job, configuration and dataset has an entry\n"])

    def is_complete(self) -> bool:
        """Whether each record has an entry; False in the store of a release without a journal."""
        return self._store.holds(_COMPLETE)

    def mark(self) -> int:
        """Return the number that `set_mark` wrote last; 0 for none."""
        try:
            return int(b"".join(self._store.open_range(_MARK)))
        except (ArtifactNotFoundError, ValueError):
            return 0

    def set_mark(self, mark: int) -> None:
        """Write a number that Redis has on its disk already; see `_MARK`."""
        self._store.put(_MARK, [b"%d\n" % mark])

    def ids(self, kind: str) -> list[str]:
        """Return the ids of the records of a kind that have entries."""
        names = (key.rpartition("/")[2] for key in self._store.keys(f"{JOURNAL_PREFIX}/{kind}s"))
        return sorted({found[1] for name in names if (found := _NAME.fullmatch(name))})

    def entries(self, kind: str, id: str) -> Iterator[FoundEntry]:
        """Yield the entries of a record, the newest first."""
        for name in reversed(self._names(kind, id)):
            if match := _NAME.fullmatch(name):
                try:
                    content = b"".join(self._store.open_range(f"{journal_prefix(kind, id)}/{name}"))
                except ArtifactNotFoundError:
                    continue  # a newer entry was written meanwhile, and this one removed
                yield _find_line(content, int(match[2]), int(match[3], 16))

    def _names(self, kind: str, id: str) -> list[str]:
        """Return the names of a record's entries, the newest last."""
        return self._store.names(journal_prefix(kind, id), f"{id}.")


def _key(entry: Entry) -> str:
    name = f"{entry.id}.{entry.revision:016d}-{zlib.crc32(entry.document):08x}.json"
    return f"{journal_prefix(entry.kind, entry.id)}/{name}"


def _find_line(content: bytes, revision: int, checksum: int) -> FoundEntry:
    """Return the line of a file that has this checksum; the whole file, damaged, without one."""
    for line in content.split(b"\n"):
        if zlib.crc32(line) == checksum:
            return FoundEntry(revision, line, is_whole=True)
    return FoundEntry(revision, content, is_whole=False)
