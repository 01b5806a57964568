"""What every artifact store can do. `FolderStore` is one, `S3Store` is another.

A caller that needs files on its own machine (the trainer, a memory map) uses `folder`, `bring` and
`send`: a store of files hands out its own, another one keeps copies in a scratch folder.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from artifact_store.errors import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    ArtifactTooLargeError,
)

OnRead = Callable[[int], object]
"""Gets the number of bytes of each chunk that was read."""

CHUNK = 1 << 20
"""Bytes handed over at a time: memory stays constant whatever the size of the artifact."""


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """What was stored under a key, whether or not it is still there."""

    key: str
    size_bytes: int
    sha256: str
    """Lower-case hex."""


@dataclass(frozen=True, slots=True)
class ArtifactStat:
    """What the store knows of an artifact without reading it."""

    key: str
    size_bytes: int
    modified_at: float
    """Seconds since the epoch."""
    version: str
    """Changes when the bytes are replaced or written to; it is not a checksum of them."""


class ArtifactWriter(ABC):
    """An upload in progress. Nothing is visible under the key before `commit`."""

    def __init__(self, key: str, limit: int | None) -> None:
        self._key, self._limit = key, limit
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append a chunk.

        Raises:
            ArtifactTooLargeError: The upload is larger than its limit; it is aborted.
        """
        if self._limit is not None and self.size_bytes + len(chunk) > self._limit:
            self.abort()
            raise ArtifactTooLargeError(self._key, self._limit)
        self._append(chunk)
        self._digest.update(chunk)
        self.size_bytes += len(chunk)

    @abstractmethod
    def _append(self, chunk: bytes) -> None:
        """Store a chunk that there is room for."""

    @abstractmethod
    def commit(self) -> ArtifactInfo:
        """Make the artifact durable and visible, replacing an older one of the same key."""

    @abstractmethod
    def abort(self) -> None:
        """Forget what was written. Does nothing after `commit`."""

    def _info(self) -> ArtifactInfo:
        return ArtifactInfo(self._key, self.size_bytes, self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Abort unless committed."""
        self.abort()


class ArtifactStore(Protocol):
    """Named blobs. Every call raises `InvalidKeyError` for a key that no store accepts."""

    @property
    def place(self) -> str:
        """Where the store is, for messages: a folder or an address."""

    def identity(self) -> str | None:
        """Return the id that the store carries; None where it has none.

        Raises:
            OSError: The id cannot be read.
        """

    def make_identity(self, identity: str) -> str:
        """Give the store this id unless it has one, and return the id that it carries then.

        Of several callers at once one wins, and all get its id.
        """

    def limitation(self) -> str:
        """Return what a person should know of the store at start; empty where it lacks nothing.

        Raises:
            ArtifactStoreAwayError: The store does not answer.
        """
        return ""

    def writer(self, key: str, *, limit: int | None = None) -> ArtifactWriter:
        """Begin an upload of at most `limit` bytes."""

    def put(self, key: str, chunks: Iterable[bytes], *, limit: int | None = None) -> ArtifactInfo:
        """Store all of `chunks` or nothing, in constant memory."""
        with self.writer(key, limit=limit) as upload:
            for chunk in chunks:
                upload.write(chunk)
            return upload.commit()

    def put_together(self, documents: Mapping[str, bytes]) -> None:
        """Store documents of one line each, all of them durable once this returns.

        What a key holds afterwards has its document as one of its lines: a store may write a single
        file for all of them.
        """
        for key, document in documents.items():
            self.put(key, [document])

    def copy(self, key: str, to: str) -> None:
        """Store the bytes of an artifact under another key, too, durably.

        Raises:
            ArtifactNotFoundError: No artifact has the key.
        """
        self.put(to, self.open_range(key))

    def stat(self, key: str) -> ArtifactStat:
        """Return the size and the time of the last change.

        Raises:
            ArtifactNotFoundError: No artifact has the key.
        """

    def open_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, at most `length` of them, in chunks.

        The artifact is opened before this returns, so that errors come at once and a deletion
        meanwhile does not disturb the reader.
        """

    def presigned_url(self, key: str, seconds: float) -> str:
        """Return an address at which anyone may fetch the artifact for so long.

        Empty for a store that has none. It is as secret as the artifact.
        """
        return ""

    def holds(self, key: str, size_bytes: int | None = None) -> bool:
        """Whether the artifact is there, with this size where one is given."""
        try:
            found = self.stat(key).size_bytes
        except ArtifactNotFoundError:
            return False
        return size_bytes is None or found == size_bytes

    def verify(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> None:
        """Read it all; raise `ArtifactDamagedError` if size or checksum differ.

        `on_read` gets the number of bytes of each chunk, since a large artifact takes minutes.
        """
        size, digest = self.stat(stored.key).size_bytes, hashlib.sha256()
        check_size(stored, size)
        for chunk in self.open_range(stored.key):
            digest.update(chunk)
            if on_read:
                on_read(len(chunk))
        check_content(stored, size, digest.hexdigest())

    def delete(self, key: str) -> bool:
        """Remove an artifact; False if there was none."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything under `prefix` + "/", durably, and return the number of artifacts."""

    def delete_names(self, prefix: str, start: str) -> None:
        """Remove the artifacts that `names(prefix, start)` names, durably."""
        for name in self.names(prefix, start):
            self.delete(f"{prefix}/{name}")

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all artifacts under `prefix` + "/", sorted."""

    def names(self, prefix: str, start: str = "") -> list[str]:
        """Return what comes behind `prefix` + "/" in all keys, up to the next slash, sorted.

        Only names that begin with `start`.
        """

    def discard_hidden(self, prefix: str) -> int:
        """Remove files under `prefix` + "/" that are not artifacts, and return their number.

        Killed writers leave such files behind. Call it only where no process writes any more.
        """

    def discard_unfinished(self, older_than_seconds: float = 600.0) -> int:
        """Remove uploads whose process died and that took no bytes for so long; return how many."""

    def local_path(self, key: str) -> Path | None:
        """Return the path of the artifact's file on this machine, which need not exist yet.

        None for a store without files.
        """

    def folder(self, prefix: str) -> Path:
        """Return the folder of this machine for the files of `prefix`; it need not exist yet.

        It is the store's own, or one in the scratch folder whose files go to the store by `send`.
        """

    def bring(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> Path:
        """Return a file of this machine that holds the artifact, verified as by `verify`."""

    def send(self, key: str, *, once: bool = False) -> None:
        """Store the file that has this key below `folder`, unless it is the store's own.

        Args:
            once: keep what the key holds already; for small files.
        """


def check_size(stored: ArtifactInfo, size: int) -> None:
    """Raise `ArtifactDamagedError` where there are more or fewer bytes than were stored."""
    if size != stored.size_bytes:
        raise ArtifactDamagedError(stored.key, f"{size} bytes", f"{stored.size_bytes} bytes")


def check_content(stored: ArtifactInfo, size: int, sha256: str) -> None:
    """Raise `ArtifactDamagedError` where the bytes are not those that were stored."""
    check_size(stored, size)
    if sha256 != stored.sha256:
        raise ArtifactDamagedError(stored.key, f"sha256 {sha256}", f"sha256 {stored.sha256}")
