"""Which store this is: an id that the store carries and the service's records remember.

A volume that is not mounted, or a folder given by mistake, looks like an empty store: every job
would begin again at its first step. So a store carries an id, made once. It is compared with the
id in the records before an artifact counts as missing, and before anything is written or deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from artifact_store.errors import (
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    RecordsLostError,
)
from artifact_store.journal import JournalFiles
from artifact_store.keys import DATASETS_PREFIX
from artifact_store.store import (
    ArtifactInfo,
    ArtifactStat,
    ArtifactStore,
    ArtifactWriter,
    OnRead,
)

T = TypeVar("T")

_REMEDY = "mount its volume, or correct --artifact-root"


class IdentityRecords(Protocol):
    """What the service's records say of their artifact store."""

    def expected(self) -> str:
        """Return the id of the store; empty before the first was recorded."""

    def record(self, identity: str) -> str:
        """Record this id unless there is one, and return the one that is recorded."""

    def known_artifacts(self) -> Sequence[str]:
        """Return the keys of some artifacts that the records name; empty where they name none."""

    def lack(self, jobs: int) -> bool:
        """Whether there are fewer jobs than this, or no records, or a recovery is under way."""

    def journal_mark(self) -> int:
        """Return the number that `JournalFiles.mark` is compared with; 0 where there is none."""


class GuardedStore(ArtifactStore):
    """An `ArtifactStore` that checks the store's id before it trusts or changes anything.

    Before an artifact counts as missing, and before a write or a deletion, the store must carry the
    expected id; otherwise the call raises `ArtifactStoreAwayError`.

    Args:
        store: the store behind it.
        expected: its id; empty until `recognise` has set it.
        without_recovery: accept records that do not know what the store holds, as a person asked.
    """

    def __init__(
        self, store: ArtifactStore, expected: str = "", *, without_recovery: bool = False
    ) -> None:
        self._store = store
        self._without_recovery = without_recovery
        self.expected = expected

    @property
    def place(self) -> str:
        """Where the store is, for messages."""
        return self._store.place

    def recognise(self, records: IdentityRecords) -> None:
        """Check that this store belongs to the records, and let it be used from now on.

        Blocks, and passes on the errors of `records`.

        Raises:
            RecordsLostError: It holds what no record knows of, and there are no records.
            ArtifactStoreAwayError: It is another store, or cannot be read.
        """
        if not self._without_recovery:
            _require_records(self._store, records)
        expected = _recognise(self._store, records)
        if not self._without_recovery:
            _require_newest(self._store, records)
        self.expected = expected

    def require_newest(self, records: IdentityRecords) -> None:
        """Check that the records are not those of an earlier time; forget the store where they are.

        Raises:
            RecordsLostError: They are older than what the journal says of them.
            ArtifactStoreAwayError: See `require`.
        """
        self.require()
        try:
            if not self._without_recovery:
                _require_newest(self._store, records)
        except RecordsLostError:
            self.expected = ""
            raise

    def require(self) -> None:
        """Check that the store carries the expected id; costs one small read.

        Raises:
            ArtifactStoreAwayError: It carries another id or none, or was not recognised yet.
        """
        carried = _identity_of(self._store)
        if not self.expected:
            raise ArtifactStoreAwayError(
                f"{self.place} was not yet recognised as the store of this service; it is tried "
                "again by itself"
            )
        if carried is None:
            raise ArtifactStoreAwayError(_no_identity(self._store, self.expected))
        if carried != self.expected:
            raise ArtifactStoreAwayError(_other_store(self._store, carried, self.expected))

    def identity(self) -> str | None:
        """Return the id that the store carries now."""
        return self._store.identity()

    def make_identity(self, identity: str) -> str:
        return self._store.make_identity(identity)

    def limitation(self) -> str:
        return self._store.limitation()

    def writer(self, key: str, *, limit: int | None = None) -> ArtifactWriter:
        self.require()
        return self._store.writer(key, limit=limit)

    def put_together(self, documents: Mapping[str, bytes]) -> None:
        self.require()
        self._store.put_together(documents)
        self.require()  # or it went away meanwhile, and another one has them

    def copy(self, key: str, to: str) -> None:
        """See `ArtifactStore`."""
        self.require()
        self._store.copy(key, to)

    def stat(self, key: str) -> ArtifactStat:
        return self._read(lambda: self._store.stat(key))

    def open_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self._read(lambda: self._store.open_range(key, offset, length))

    def presigned_url(self, key: str, seconds: float) -> str:
        self.require()
        return self._store.presigned_url(key, seconds)

    def verify(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> None:
        self._read(lambda: self._store.verify(stored, on_read))

    def delete(self, key: str) -> bool:
        self.require()
        return self._store.delete(key)

    def delete_prefix(self, prefix: str) -> int:
        self.require()
        return self._store.delete_prefix(prefix)

    def delete_names(self, prefix: str, start: str) -> None:
        self.require()
        self._store.delete_names(prefix, start)

    def keys(self, prefix: str) -> list[str]:
        self.require()
        return self._store.keys(prefix)

    def names(self, prefix: str, start: str = "") -> list[str]:
        self.require()
        return self._store.names(prefix, start)

    def discard_hidden(self, prefix: str) -> int:
        self.require()
        return self._store.discard_hidden(prefix)

    def discard_unfinished(self, older_than_seconds: float = 600.0) -> int:
        self.require()
        return self._store.discard_unfinished(older_than_seconds)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def folder(self, prefix: str) -> Path:
        return self._store.folder(prefix)

    def bring(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> Path:
        return self._read(lambda: self._store.bring(stored, on_read))

    def send(self, key: str, *, once: bool = False) -> None:
        self.require()
        self._store.send(key, once=once)

    def _read(self, call: Callable[[], T]) -> T:
        """Return what `call` returns.

        Where something is missing or broken, check that the right store is there, then call again:
        the store may have been away for a moment.
        """
        try:
            return call()
        except (ArtifactNotFoundError, OSError):
            self.require()
            return call()


def _require_records(store: ArtifactStore, records: IdentityRecords) -> None:
    """Check that the records are not those of a Redis that was lost.

    Raises:
        RecordsLostError: They lack what the store holds, and the store's id.
    """
    if records.expected():
        return
    try:
        held = _count_records(store)
    except OSError:
        return  # `_recognise` raises for a store that cannot be read
    if any(held.values()) and records.lack(held["job"]):
        found = ", ".join(f"{count} {kind}s" for kind, count in held.items() if count)
        raise RecordsLostError(
            f"{store.place} holds {found}, and Redis knows them no more: Redis was lost, or is "
            "another one. Recover them (`training-engine recover --data-dir DIR`, or `python -P -m "
            "control_plane --recover`), or name the right Redis; --start-without-recovery uses the "
            "store with a new Redis. Until then no call is served and no file is changed"
        )


def _require_newest(store: ArtifactStore, records: IdentityRecords) -> None:
    try:
        marked = JournalFiles(store).mark()
    except OSError:
        return  # `_recognise` raises for a store that cannot be read
    # In this order: Redis' number grows first.
    if records.journal_mark() < marked:
        raise RecordsLostError(
            f"the journal in {store.place} is newer than Redis, which has an older state, as from "
            "a restored backup. Keep a copy of its append-only file, empty it, and recover "
            "(`training-engine recover --data-dir DIR`, or `python -P -m control_plane "
            "--recover`); "
            "or name the right Redis; --start-without-recovery goes on with what Redis has. Until "
            "then no call is served and no file is changed"
        )


def _count_records(store: ArtifactStore) -> dict[str, int]:
    """Return how many jobs, configurations and datasets have records or files in the store."""
    files = JournalFiles(store)
    counts = {kind: len(files.ids(kind)) for kind in ("job", "config", "dataset")}
    if not files.is_complete():
        # Of a release that wrote no journal. Where it is complete, files without an entry were
        # left behind by a deletion.
        counts["job"] = max(counts["job"], len(store.names("jobs")))
        counts["dataset"] = max(counts["dataset"], len(store.names(DATASETS_PREFIX)))
    return counts


def _recognise(store: ArtifactStore, records: IdentityRecords) -> str:
    """Return the id that store and records share; make one where neither has any.

    A store without an id is the right one if it holds an artifact that the records name (it is
    older than ids, or was copied without its hidden file), or if the records name no artifact and
    no id yet.

    Raises:
        ArtifactStoreAwayError: It is another one, or cannot be read.
    """
    # The records are read before the store: an id is recorded only after the store carries it, so
    # a recorded id that the store lacks proves that it is another store.
    expected = records.expected()
    carried = _identity_of(store)
    if carried and carried == expected:
        return carried
    if carried and expected:
        raise ArtifactStoreAwayError(_other_store(store, carried, expected))
    recorded_keys = records.known_artifacts()
    is_ours = any(store.holds(key) for key in recorded_keys)
    if expected and not is_ours:
        raise ArtifactStoreAwayError(_no_identity(store, expected))
    if recorded_keys and not is_ours:
        raise ArtifactStoreAwayError(
            f"{store.place} holds none of the artifacts that the records name, such as "
            f"{recorded_keys[0]}: it is not the store of this service; {_REMEDY}"
        )
    identity = _make_identity(store, expected or carried or f"store_{secrets.token_hex(8)}")
    if (recorded := records.record(identity)) != identity:
        raise ArtifactStoreAwayError(_other_store(store, identity, recorded))
    return identity


def _identity_of(store: ArtifactStore) -> str | None:
    try:
        return store.identity()
    except OSError as error:
        raise ArtifactStoreAwayError(
            f"{store.place} cannot be read ({error.strerror or error}); {_REMEDY}"
        ) from error


def _make_identity(store: ArtifactStore, identity: str) -> str:
    try:
        return store.make_identity(identity)
    except OSError as error:
        raise ArtifactStoreAwayError(
            f"{store.place} cannot be written ({error.strerror or error}); make it writable for "
            "the user of this process"
        ) from error


def _no_identity(store: ArtifactStore, expected: str) -> str:
    return (
        f"{store.place} carries no identity, and the store of this service is {expected}: its "
        f"volume is away, or this is another folder; {_REMEDY}"
    )


def _other_store(store: ArtifactStore, carried: str, expected: str) -> str:
    return (
        f"{store.place} is the artifact store {carried}, and that of this service is {expected}; "
        f"{_REMEDY}"
    )
