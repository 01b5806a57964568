"""The records that the journal holds, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from artifact_store import ArtifactStore, JournalFiles
from job_store.codec import decode_config, decode_dataset, decode_job, decode_sweep
from job_store.errors import RecordVersionError
from job_store.records import RECORD_VERSION

KINDS = ("config", "dataset", "job", "sweep")
"""Sweeps come last: they are driven once they are there, and their children are known by then."""
_DECODERS: dict[str, Callable[[str, Mapping[str, str]], object]] = {
    "config": decode_config,
    "dataset": decode_dataset,
    "sweep": decode_sweep,
    "job": decode_job,
}
_PARTS = ("attempts", "checkpoints", "checkpoint_scores", "checkpoint_data", "requests")


class JournalVersionError(Exception):
    """The journal was written by a release whose entries this one does not read."""

    def __init__(self, kind: str, id: str, version: str) -> None:
        super().__init__(
            f"the journal's entry of {kind} {id} has version {version}, and this release reads "
            f"version {RECORD_VERSION}; nothing was changed; recover with the release that wrote it"
        )


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as an entry of the journal has it, or what is known of one without an entry."""

    kind: str
    id: str
    entry: Mapping[str, Any] | None
    """None where no entry can be read; `remarks` say why."""
    remarks: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, str]:
        """The fields of its hash in Redis."""
        return dict(self.entry["fields"]) if self.entry else {}


def read_journal(store: ArtifactStore, store_id: str) -> Iterator[StoredRecord]:
    """Yield each record that the journal names: configurations, datasets, jobs by age, then sweeps.

    Raises:
        JournalVersionError: An entry has another version.
    """
    files = JournalFiles(store)
    for kind in KINDS:
        for id in files.ids(kind):
            yield _read(files, kind, id, store_id)


def _read(files: JournalFiles, kind: str, id: str, store_id: str) -> StoredRecord:
    remarks: list[str] = []
    for found in files.entries(kind, id):
        try:
            if not found.is_whole:
                raise ValueError("its bytes are not those that were written")
            entry = _checked(kind, id, json.loads(found.document))
        except ValueError as error:
            remarks.append(f"journal entry {found.revision} is damaged and passed over ({error})")
            continue
        if entry["store"] not in ("", store_id):
            why = f"its entry {found.revision} is of the artifact store {entry['store']}"
            return StoredRecord(kind, id, None, (why,))
        return StoredRecord(kind, id, entry, tuple(remarks))
    return StoredRecord(kind, id, None, (*remarks, "no entry of its journal can be read"))


def _checked(kind: str, id: str, entry: Any) -> dict[str, Any]:
    """Return an entry whose record can be read.

    Raises:
        ValueError: It cannot be read.
        JournalVersionError: It has another version.
    """
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    if entry.get("v") != str(RECORD_VERSION):
        raise JournalVersionError(kind, id, str(entry.get("v")))
    if (entry.get("kind"), entry.get("id")) != (kind, id):
        raise ValueError(f"it is of {entry.get('kind')} {entry.get('id')}")
    try:
        _DECODERS[kind](id, entry["fields"])
        if kind == "job":
            # An empty list is an empty object in the JSON that Redis' scripts write.
            entry["retired_checkpoints"] = list(entry["retired_checkpoints"])
            entry.setdefault("requests", {})  # earlier entries have none
            entry |= {part: dict(entry[part]) for part in _PARTS} | {"config": str(entry["config"])}
        return entry | {"store": str(entry["store"])}
    except (RecordVersionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
