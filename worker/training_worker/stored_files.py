"""The files that an attempt takes from the artifact store, on each of its machines the same."""

from __future__ import annotations

from pathlib import Path

from app.training import progress
from app.training.reading import permit
from artifact_store import ArtifactInfo, ArtifactStore
from job_store.records import CheckpointRecord, DatasetRecord

Described = str | bool | None | tuple[str, int, str]
"""A path or a switch of a configuration; or the key, the size and the sha256 of an artifact."""


class StoredFiles:
    """Brings artifacts to this machine, and says which they were."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self.artifacts = artifacts
        self._taken: dict[str, tuple[str, int, str]] = {}

    def take(self, record: CheckpointRecord | DatasetRecord) -> Path:
        """Return a file of this machine with the artifact, whose bytes are verified.

        Raises:
            ArtifactDamagedError: The bytes are not those that were stored.
            ArtifactNotFoundError: The store does not have it.
            ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
        """
        what = (record.artifact, record.size_bytes, record.sha256)
        return self._note(self._bring(*what), what)

    def find(self, record: CheckpointRecord | DatasetRecord) -> Path:
        """Return `take`, without a verification where the store has the file on this machine.

        Raises as `take` does.
        """
        if (path := self.artifacts.local_path(record.artifact)) is None:
            return self.take(record)
        self.artifacts.stat(record.artifact)
        return self._note(path, (record.artifact, record.size_bytes, record.sha256))

    def describe(self, value: str | bool | None) -> Described:
        """Return a field of a configuration in such a form that `resolve` knows it elsewhere."""
        return self._taken.get(str(value), value)

    def resolve(self, described: Described | list[str | int]) -> str | bool | None:
        """Return the field for this machine; an artifact is brought to it.

        Raises as `take` does.
        """
        if not isinstance(described, list | tuple):
            return described
        key, size_bytes, sha256 = described
        what = (str(key), int(size_bytes), str(sha256))
        return str(self._note(self.artifacts.local_path(what[0]) or self._bring(*what), what))

    def _bring(self, key: str, size_bytes: int, sha256: str) -> Path:
        return self.artifacts.bring(ArtifactInfo(key, size_bytes, sha256), progress.advanced)

    def _note(self, path: Path, what: tuple[str, int, str]) -> Path:
        self._taken[str(path)] = what
        permit(path)  # the service chose it, wherever the job's own data must be
        return path
