"""What can go wrong with an artifact; every message names the key, the rule and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# ArtifactError
# ├── InvalidKeyError          the key is not one that any store accepts
# ├── ArtifactNotFoundError    no artifact has the key
# ├── ArtifactDamagedError     the bytes differ from their recorded size or checksum
# ├── ArtifactTooLargeError    an upload passed its limit; nothing was stored
# ├── ArtifactStoreFullError   the disk is full; nothing was stored
# ├── ArtifactStoreAwayError   the store cannot be reached, or another one is in its place
# │   └── RecordsLostError     the service's records know nothing of what the store holds
# └── OffsetOutOfRangeError    a range begins behind the end of the artifact


class ArtifactError(Exception):
    """Base of everything that an artifact store raises on purpose."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class InvalidKeyError(ArtifactError, ValueError):
    """The key is not one that any store accepts."""

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(key, f"artifact key {key[:200]!r} is refused: {rule}")


class ArtifactNotFoundError(ArtifactError):
    """No artifact has the key."""

    def __init__(self, key: str) -> None:
        super().__init__(
            key, f"there is no artifact {key!r}; it was deleted, or its upload never ended"
        )


class ArtifactDamagedError(ArtifactError):
    """The bytes differ from what was recorded when they were stored."""

    def __init__(self, key: str, found: str, expected: str) -> None:
        message = f"artifact {key!r} has {found} where {expected} was recorded"
        super().__init__(key, f"{message}; its file was damaged: use another one")


class ArtifactTooLargeError(ArtifactError):
    """An upload passed its limit; nothing was stored."""

    def __init__(self, key: str, limit: int) -> None:
        message = f"artifact {key!r} is larger than the limit of {limit} bytes"
        super().__init__(key, f"{message}; split it, or raise the limit")


class ArtifactStoreFullError(ArtifactError):
    """No room left; what had been written of the artifact was removed again."""

    def __init__(self, key: str) -> None:
        message = f"there is no room left to store artifact {key!r}"
        super().__init__(key, f"{message}; delete jobs or datasets, or enlarge the disk")


class ArtifactStoreAwayError(ArtifactError):
    """The store cannot be reached, or another one is in its place: trust no absence in it."""

    def __init__(self, why: str) -> None:
        super().__init__("", f"the artifact store is not available: {why}")
        self.why = why


class RecordsLostError(ArtifactStoreAwayError):
    """The store holds records' files and the service has no records: Redis was lost, or is new."""


class OffsetOutOfRangeError(ArtifactError):
    """A range begins behind the end of the artifact."""

    def __init__(self, key: str, offset: int, size: int) -> None:
        message = f"offset {offset} is outside artifact {key!r} of {size} bytes"
        super().__init__(key, f"{message}; ask for an offset from 0 to {size}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system name this file: a write knows a descriptor, and no name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
