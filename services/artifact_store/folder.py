"""Artifacts as files in a folder: on one machine, or on a volume that all machines share."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from artifact_store.errors import (
    ArtifactNotFoundError,
    ArtifactStoreFullError,
    InvalidKeyError,
    OffsetOutOfRangeError,
)
from artifact_store.keys import check_key
from artifact_store.store import (
    CHUNK,
    ArtifactInfo,
    ArtifactStat,
    ArtifactStore,
    ArtifactWriter,
    OnRead,
)

_INCOMING = ".incoming"
_IDENTITY = ".store-id"
_SURELY_DEAD_SECONDS = 86400.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FolderStore(ArtifactStore):
    """An `ArtifactStore` whose keys are paths under `root`.

    Uploads are written in `root/.incoming` and renamed into place once they are durable, so a
    reader sees a whole artifact or none. No valid key begins with a dot, so callers cannot reach
    that folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.root)

    def identity(self) -> str | None:
        """Return the content of the root's file `.store-id`.

        Raises:
            OSError: The file system refuses it.
        """
        try:
            return (self.root / _IDENTITY).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def make_identity(self, identity: str) -> str:
        """Write the root's file `.store-id`, durably and as a whole, unless it is there."""
        path = self.root / _IDENTITY
        temporary = self.root / f"{_IDENTITY}.{uuid.uuid4().hex}"
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(identity + "\n")
                file.flush()
                os.fsync(file.fileno())
            _place_once(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self.root)
        return self.identity() or ""

    def local_path(self, key: str) -> Path:
        """Return the path of the artifact's file, which may not exist.

        Links out of `root` are refused.
        """
        path = self.root / check_key(key)
        if not path.resolve().is_relative_to(self.root):
            raise InvalidKeyError(key, "its path leads out of the store's folder")
        return path

    def folder(self, prefix: str) -> Path:
        """Return the folder of the keys below `prefix`."""
        return self.local_path(prefix)

    def bring(self, stored: ArtifactInfo, on_read: OnRead | None = None) -> Path:
        """Verify the artifact, and return its file."""
        self.verify(stored, on_read)
        return self.local_path(stored.key)

    def send(self, key: str, *, once: bool = False) -> None:
        """Do nothing, since the file is in the store already."""

    def writer(self, key: str, *, limit: int | None = None) -> FolderWriter:
        return FolderWriter(self.root, key, self.local_path(key), limit)

    def put_together(self, documents: Mapping[str, bytes]) -> None:
        """Store documents of one line each: one file, one sync, and a hard link to it for each key.

        Where the file system has no hard links, each gets a file of its own.
        """
        if len(documents) == 1 or not self._put_links(documents):
            for key, document in documents.items():
                self.put(key, [document])

    def _put_links(self, documents: Mapping[str, bytes]) -> bool:
        paths = [self.root / check_key(key) for key in documents]
        folders = {self.local_path(key.rpartition("/")[0]) for key in documents}
        with self.writer(next(iter(documents))) as upload:
            upload.write(b"\n".join(documents.values()))
            upload.sync()
            try:
                for folder in folders:
                    make_folder(folder)
                upload.link_to(paths)
            except OSError:
                return False
        for folder in folders:
            sync_folder(folder)
        return True

    def copy(self, key: str, to: str) -> None:
        """Give the file another name: its bytes never change. Copy it where links are unknown."""
        source, target = self.local_path(key), self.local_path(to)
        make_folder(target.parent)
        try:
            os.link(source, target)
        except FileExistsError:
            return  # by an earlier call
        except FileNotFoundError:
            raise ArtifactNotFoundError(key) from None
        except OSError:
            super().copy(key, to)
        else:
            sync_folder(target.parent)

    def stat(self, key: str) -> ArtifactStat:
        with self._open(key) as file:
            status = os.fstat(file.fileno())
        version = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        return ArtifactStat(key, status.st_size, status.st_mtime, version)

    def open_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, at most `length` of them, in chunks."""
        file = self._open(key)
        size = os.fstat(file.fileno()).st_size
        if not 0 <= offset <= size:
            file.close()
            raise OffsetOutOfRangeError(key, offset, size)
        file.seek(offset)
        return _chunks(file, size - offset if length is None else length)

    def delete(self, key: str) -> bool:
        try:
            self.local_path(key).unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        return True

    def delete_prefix(self, prefix: str) -> int:
        folder = self.local_path(prefix)
        if not folder.is_dir():
            if folder.parent.is_dir():
                sync_folder(folder.parent)  # a removal that was cut short may not be durable yet
            return 0
        removed = sum(len(files) for _, _, files in os.walk(folder))
        # Renamed first, so that a listing of the store never shows half a folder.
        grave = self.root / _INCOMING / uuid.uuid4().hex
        grave.parent.mkdir(exist_ok=True)
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return 0  # another process has removed it meanwhile
        sync_folder(folder.parent)
        shutil.rmtree(grave, ignore_errors=True)
        return removed

    def delete_names(self, prefix: str, start: str) -> None:
        folder = self.local_path(prefix)
        for name in self.names(prefix, start):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            sync_folder(folder)
        with contextlib.suppress(OSError):  # it holds others
            folder.rmdir()

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all artifacts under `prefix` + "/", sorted, without hidden files."""
        names = (path.relative_to(self.root).as_posix() for path in self._files(prefix))
        return sorted(name for name in names if "/." not in name)

    def names(self, prefix: str, start: str = "") -> list[str]:
        try:
            found = os.listdir(self.local_path(prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in found if name.startswith(start) and name[0] != ".")

    def discard_hidden(self, prefix: str) -> int:
        """Remove files with a dot in front, which killed writers left, and return their number."""
        hidden = [path for path in self._files(prefix) if path.name.startswith(".")]
        for path in hidden:
            path.unlink(missing_ok=True)
        return len(hidden)

    def _files(self, prefix: str) -> list[Path]:
        found = os.walk(self.local_path(prefix))
        return [Path(folder, name) for folder, _, names in found for name in names]

    def discard_unfinished(self, older_than_seconds: float = 600.0) -> int:
        """Remove uploads whose process died and that took no bytes for so long; return how many.

        A writer holds a lock on its file. Where the file system knows no locks, an upload counts
        as dead after a day.
        """
        dead = [
            path
            for path in (self.root / _INCOMING).glob("*")
            if _age(path) > older_than_seconds and (path.is_dir() or _has_no_writer(path))
        ]
        for path in dead:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(dead)

    def _open(self, key: str) -> BinaryIO:
        try:
            return self.local_path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ArtifactNotFoundError(key) from None


class FolderWriter(ArtifactWriter):
    """An upload into a `FolderStore`; use it as a context manager."""

    def __init__(self, root: Path, key: str, target: Path, limit: int | None) -> None:
        super().__init__(key, limit)
        self._target = target
        incoming = root / _INCOMING
        incoming.mkdir(exist_ok=True)
        self._path = incoming / uuid.uuid4().hex
        self._file = self._path.open("xb", buffering=0)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _append(self, chunk: bytes) -> None:
        with self._room():
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        """Make what was written durable; it stays invisible."""
        with self._room():
            os.fsync(self._file.fileno())

    def link_to(self, paths: Sequence[Path]) -> None:
        """Make what was written visible under these paths, too."""
        for path in paths:
            os.link(self._path, path)

    def commit(self) -> ArtifactInfo:
        self.sync()
        make_folder(self._target.parent)
        self._path.replace(self._target)
        self._file.close()  # this frees the lock
        sync_folder(self._target.parent)
        return self._info()

    def abort(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            if error.errno in _NO_ROOM:
                raise ArtifactStoreFullError(self._key) from error
            raise


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, such that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _place_once(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless that is taken by one that holds something."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if path.stat().st_size == 0:
            temporary.replace(path)
    except OSError:  # a file system without hard links
        if not path.exists():
            temporary.replace(path)


def _chunks(file: BinaryIO, length: int) -> Iterator[bytes]:
    with file:
        while length > 0 and (chunk := file.read(min(CHUNK, length))):
            length -= len(chunk)
            yield chunk


def _has_no_writer(path: Path) -> bool:
    """Whether the process that wrote the file is gone: its lock went with it."""
    try:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, or the file is gone
        return _age(path) > _SURELY_DEAD_SECONDS
    return True


def _age(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return 0.0
