"""Files on this side: a download that can be taken up again, and what an upload announces."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from training_engine._home import expanded
from training_engine._options import CHUNK_BYTES
from training_engine.errors import ArtifactDamagedError, ConflictError, InvalidArgumentError
from training_engine.records import Checkpoint

Progress = Callable[[int, int], object]


def destination(path: str | os.PathLike[str] | None, checkpoint: Checkpoint) -> Path:
    """Return the file to write: in the current folder by default, inside `path` if a folder."""
    name = f"checkpoint_step_{checkpoint.step}.pt"
    target = expanded(path) if path is not None else Path(name)
    if target.is_dir():
        return target / name
    folder = target if os.fspath(path or "").endswith(os.sep) else target.parent
    if not folder.is_dir():
        raise InvalidArgumentError(f"{folder} is not a folder; make it first, or name another")
    return target


def is_there(target: Path, checkpoint: Checkpoint) -> bool:
    """Return True where a file holds the checkpoint already, False where there is none.

    Raises:
        ConflictError: It holds something else, which a download would destroy.
    """
    if not target.exists():
        return False
    same_size = target.is_file() and target.stat().st_size == checkpoint.size_bytes
    if same_size and measure(target)[0] == checkpoint.sha256:
        return True
    raise ConflictError(
        f"{target} exists and is not checkpoint {checkpoint.checkpoint_id}; "
        "name another file, or replace it with --force (in programs: overwrite=True)",
        code="file_exists",
    )


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
        self._file = self._open_alone()
        return self

    def catch_up(self) -> None:
        """Read what an earlier try left; seconds for a large file."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._count(chunk)
        if self.offset > self._checkpoint.size_bytes:
            self._restart()

    def _open_alone(self) -> BinaryIO:
        """Two downloads that append to one file would damage it: the second is refused."""
        while True:
            file = open(self._path, "a+b")  # noqa: SIM115  closed by __exit__
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise ConflictError(
                    f"another download is writing {self._path}; wait for it, or name another file"
                ) from None
            try:
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                    return file
            except FileNotFoundError:
                pass
            file.close()  # the other one has just finished and put the file in its place

    def __exit__(self, *error: object) -> None:
        with self._named():
            self._file.close()  # which writes what is buffered, also where that failed before

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the file's name to what the system says of a write."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

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
        with self._named():
            self._file.write(data)
        self._count(data)

    def report(self) -> None:
        """Tell the caller's callback how far it is; apart from `write`, which may run elsewhere."""
        if self._progress:
            self._progress(self.offset, self._checkpoint.size_bytes)

    def finish(self) -> Path:
        """Verify the file and put it in its place; return where that is.

        Raises:
            ArtifactDamagedError: Size or checksum differ; the partial file is removed.
        """
        with self._named():
            self._file.flush()
        checksum = self._digest.hexdigest()
        if self.offset != self._checkpoint.size_bytes or checksum != self._checkpoint.sha256:
            self._path.unlink()
            raise ArtifactDamagedError(
                f"checkpoint {self._checkpoint.checkpoint_id} arrived with {self.offset} bytes and "
                f"sha256 {checksum}; it must have {self._checkpoint.size_bytes} bytes and sha256 "
                f"{self._checkpoint.sha256}; download it again"
            )
        os.fsync(self._file.fileno())
        os.replace(self._path, self._target)
        return self._target

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.offset += len(data)

    def _restart(self) -> None:
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.offset = 0


def measure(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 in lower-case hex and its size in bytes.

    Raises:
        InvalidArgumentError: It is not a readable file.
    """
    with _readable(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces of at most 1 MiB.

    Raises:
        InvalidArgumentError: It is not a readable file.
    """
    with _readable(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _readable(path: Path) -> Iterator[BufferedReader]:
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InvalidArgumentError(
            f"{path} cannot be uploaded: {error.strerror}; give the path of one readable file"
        ) from error
