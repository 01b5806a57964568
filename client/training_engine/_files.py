"""Files on this side: a download that can be taken up again, and what an upload announces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from training_engine._transport import CHUNK_BYTES
from training_engine.errors import ArtifactDamagedError, InvalidArgumentError
from training_engine.records import Checkpoint

Progress = Callable[[int, int], object]


def destination(path: str | os.PathLike[str] | None, checkpoint: Checkpoint) -> Path:
    """Return the file to write: in the current folder by default, inside `path` if a folder."""
    name = f"checkpoint_step_{checkpoint.step}.pt"
    target = Path(path) if path is not None else Path(name)
    return target / name if target.is_dir() else target


class PartialFile:
    """A download in progress, beside its destination as `NAME.SHA.part`.

    What an earlier try left is continued; the checksum in its name keeps two checkpoints apart.
    The destination appears only when it is complete and verified.
    """

    def __init__(self, target: Path, checkpoint: Checkpoint, progress: Progress | None) -> None:
        self._target = target
        self._checkpoint = checkpoint
        self._progress = progress
        self._path = target.with_name(f"{target.name}.{checkpoint.sha256[:12]}.part")
        self._digest = hashlib.sha256()
        self.offset = 0

    def __enter__(self) -> PartialFile:
        self._file = open(self._path, "a+b")
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._count(chunk)
        if self.offset > self._checkpoint.size_bytes:
            self._restart()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def complete(self) -> bool:
        """True once every byte is there."""
        return self.offset >= self._checkpoint.size_bytes

    def write(self, offset: int, data: bytes) -> None:
        """Append a piece; a server that starts over is followed."""
        if offset != self.offset:
            if offset != 0:
                raise ArtifactDamagedError(
                    f"the download continues at byte {offset} instead of {self.offset}; try again"
                )
            self._restart()
        self._file.write(data)
        self._count(data)

    def finish(self) -> Path:
        """Verify the file and put it in its place; return where that is.

        Raises:
            ArtifactDamagedError: Size or checksum differ; the partial file is removed.
        """
        self._file.flush()
        found = self._digest.hexdigest()
        if self.offset != self._checkpoint.size_bytes or found != self._checkpoint.sha256:
            self._path.unlink()
            raise ArtifactDamagedError(
                f"checkpoint {self._checkpoint.checkpoint_id} arrived with {self.offset} bytes and "
                f"sha256 {found}; it must have {self._checkpoint.size_bytes} bytes and sha256 "
                f"{self._checkpoint.sha256}; download it again"
            )
        os.fsync(self._file.fileno())
        os.replace(self._path, self._target)
        return self._target

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.offset += len(data)
        if self._progress:
            self._progress(self.offset, self._checkpoint.size_bytes)

    def _restart(self) -> None:
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.offset = 0


def measure(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 in lower-case hex and its size in bytes.

    Raises:
        InvalidArgumentError: It is no readable file.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in chunks_of(path):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces of at most 1 MiB.

    Raises:
        InvalidArgumentError: It is no readable file.
    """
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise InvalidArgumentError(
            f"{path} cannot be uploaded: {error.strerror}; give the path of one readable file"
        ) from error
