"""A folder of tokenized datasets, keyed by content, safe to share among processes.

An entry is a folder `tokens/{key}` with `tokens.bin` (raw little-endian ids), `entry.json`, and
what its writer put beside the ids. It is written under a temporary name and renamed as a whole, so
an entry is complete or absent. One lock per key makes a second process wait for the first and then
use its work; should the file system have no locks, both work and one rename wins, with equal
content.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.errors import DataError
from app.training.home import expanded, in_home

logger = logging.getLogger(__name__)

LOCATION_VARIABLE = "TRAINING_ENGINE_CACHE"
_TOKENS = "tokens"
FORMAT_VERSION = 1
"""Part of every key: raised when the same content would be written differently."""

_LOCK_POLL_SECONDS = 0.1
_TOUCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """One tokenized dataset on disk."""

    path: Path
    """Raw ids, little-endian, `dtype` each."""
    dtype: str
    """`<u2` or `<u4`."""
    count: int
    """Number of ids."""
    largest: int
    """Largest id, -1 if there is none."""
    extra: dict[str, Any]
    """What the writer stored beside: the tokenizer's state."""
    beside: dict[str, int]
    """Bytes of the files beside the ids, by name; they are in the same folder."""


class SideFile(NamedTuple):
    """What a writer adds to a file beside the ids."""

    name: str
    data: bytes


def cache_directory(near: Path) -> Path:
    """Return a writable cache folder.

    It is `$TRAINING_ENGINE_CACHE`, else `~/.cache/training_engine`, else (both read-only, as in a
    hardened container) a hidden folder beside the data, else one in the system's temporary folder.
    A folder that exists keeps its mode, and all that is made in it takes that mode over: a folder
    with mode 2770 is shared by its group. A new folder is its owner's alone, unless a variable
    named it: then the umask decides.
    """
    named = os.environ.get(LOCATION_VARIABLE)
    beside = near if near.is_dir() else near.parent
    preferred = expanded(named) if named else in_home("~/.cache/training_engine")
    choices = [
        *([preferred] if preferred else []),  # None: a user id without a home
        beside / ".training_engine_cache",
        machine_folder(),
    ]
    for choice in choices:
        with contextlib.suppress(OSError):
            shared = named and choice is preferred
            choice.mkdir(parents=True, exist_ok=True, mode=0o777 if shared else 0o700)
            tokens = shared_folder(choice / _TOKENS, choice)
            with tempfile.TemporaryFile(dir=choice), tempfile.TemporaryFile(dir=tokens):
                if choice is not preferred:
                    logger.warning(
                        "%s; tokens are cached in %s; set %s to choose a place",
                        f"{preferred} is not writable"
                        if preferred
                        else "this user has no home folder",
                        choice,
                        LOCATION_VARIABLE,
                    )
                return choice
    raise DataError(
        f"none of {', '.join(map(str, choices))} is writable; tokenized data needs one of them; "
        f"set {LOCATION_VARIABLE} to a writable folder"
    )


@functools.cache
def machine_folder() -> Path:
    """Return the cache among the machine's temporary files, also where a process changes those."""
    return Path(tempfile.gettempdir()) / f"training_engine_cache-{os.getuid()}"


def cache_key(*parts: str) -> str:
    """Return the key of content that these parts determine."""
    return hashlib.sha256("\n".join([str(FORMAT_VERSION), *parts]).encode()).hexdigest()


def get_or_create(
    directory: Path,
    key: str,
    dtype: str,
    write: Callable[[], tuple[Iterable[npt.NDArray[Any] | SideFile], dict[str, Any]]],
) -> Entry:
    """Return the entry of `key`, writing it first if it is absent or damaged.

    Args:
        write: returns the ids, as arrays whose values fit `dtype`, with additions to other files
            among them, and what to store in `extra`.

    Raises:
        DataError: the cache's disk is full or fails. Nothing is left behind then.
    """
    target = directory / _TOKENS / key
    if (entry := _read_entry(target)) is not None:
        return entry
    shared_folder(target.parent, directory)
    with _locked(target.with_suffix(".lock"), directory) as has_lock:
        if (entry := _read_entry(target)) is not None:
            return entry
        if has_lock:  # what a killed process left half-written
            for stale in target.parent.glob(f"{key[:16]}.*.tmp"):
                shutil.rmtree(stale, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{key[:16]}.", suffix=".tmp", dir=target.parent))
        try:
            arrays, extra = write()
            _write_entry(temporary, dtype, arrays, extra)
            for made in (*temporary.iterdir(), temporary):
                share(made, directory)
            _publish(temporary, target)
        except OSError as error:
            raise DataError(
                f"tokens cannot be written to {str(directory)!r} ({error.strerror or error}); the "
                f"cache needs 2 or 4 bytes a token; free space, or set {LOCATION_VARIABLE} to "
                "another disk"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    entry = _read_entry(target)
    if entry is None:
        raise DataError(
            f"the cache entry {str(target)!r} cannot be read back; the cache must be on a working "
            f"disk; set {LOCATION_VARIABLE} to another folder"
        )
    return entry


def _write_entry(
    folder: Path, dtype: str, arrays: Iterable[npt.NDArray[Any] | SideFile], extra: dict[str, Any]
) -> None:
    count, largest = 0, -1
    beside: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        opened = functools.cache(lambda name: stack.enter_context(_durable(folder / name)))
        file = opened("tokens.bin")
        for array in arrays:
            if isinstance(array, SideFile):
                size = opened(array.name).write(array.data)
                beside[array.name] = beside.get(array.name, 0) + size
            elif array.size:
                count += array.size
                largest = max(largest, int(array.max()))
                ids = np.ascontiguousarray(array, dtype=dtype)
                progress.advanced(file.write(ids.data))
    entry = {"format": FORMAT_VERSION, "dtype": dtype, "count": count, "largest": largest}
    more = {"beside": beside} if beside else {}
    with _durable(folder / "entry.json") as file:
        file.write(json.dumps({**entry, **more, "extra": extra}).encode())


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it is synced to the disk when the context ends."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        if _read_entry(target) is not None:
            return  # another process was first, with equal content
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)


def _read_entry(folder: Path) -> Entry | None:
    try:
        stored = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        dtype, count = np.dtype(stored["dtype"]), int(stored["count"])
        size = (folder / "tokens.bin").stat().st_size
        if stored["format"] != FORMAT_VERSION or size != count * dtype.itemsize:
            raise ValueError(f"{size} bytes for {count} tokens")
        beside = {str(name): int(bytes_) for name, bytes_ in stored.get("beside", {}).items()}
        for name, bytes_ in beside.items():
            size = (folder / name).stat().st_size
            if size != bytes_:
                raise ValueError(f"{name} has {size} bytes and had {bytes_}")
        path, largest = folder / "tokens.bin", int(stored["largest"])
        return Entry(path, stored["dtype"], count, largest, stored["extra"], beside)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the cache entry %s is damaged (%s) and is made again", folder, error)
        return None


def shared_folder(folder: Path, directory: Path) -> Path:
    """Make a folder of the cache, if it is missing, for all who may use the cache."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        share(folder, directory)
    return folder


def share(made: Path, directory: Path) -> None:
    """Give what this process made in the cache the group and the permissions of the cache."""
    status = directory.stat()
    mode = stat.S_IMODE(status.st_mode)
    with contextlib.suppress(OSError):  # another group's, or a file system without modes
        os.chown(made, -1, status.st_gid)
    with contextlib.suppress(OSError):
        made.chmod(mode if made.is_dir() else mode & 0o666)


@contextlib.contextmanager
def _locked(path: Path, directory: Path) -> Iterator[bool]:
    """Hold the lock of a key; yields False where the file system has no locks.

    The file's time is the holder's sign of life, which those who wait pass on as their own.
    """
    fresh = not path.exists()
    with path.open("a") as file:
        if fresh:
            share(path, directory)
        if not _lock(file.fileno()):
            yield False
            return
        with progress.reporting_to(_touching(path, progress.listener())):
            yield True


def _lock(file: int) -> bool:
    touched_at = os.fstat(file).st_mtime_ns
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            now = os.fstat(file).st_mtime_ns
            if now != touched_at:  # the holder is alive, so this process is not stuck
                progress.advanced(0)
            touched_at = now
            time.sleep(_LOCK_POLL_SECONDS)
        except OSError:
            return False


def _touching(path: Path, listener: progress.Listener) -> progress.Listener:
    """Return a listener that calls `listener`, and now and then touches the lock's file."""
    touched_at = time.monotonic()

    def forward(size: int) -> None:
        nonlocal touched_at
        listener(size)
        if time.monotonic() - touched_at >= _TOUCH_SECONDS:
            touched_at = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(path)

    return forward
