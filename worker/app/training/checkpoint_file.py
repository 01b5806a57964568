"""One checkpoint on disk: complete or absent, and verified before it is believed.

The file is written under a temporary name, fsynced and renamed; then its manifest is written the
same way. So a file under its own name is whole, whatever cut the save short: a crash, a power
failure or a full disk. One without its manifest is verified by the checksums inside it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from app.training import progress
from app.training.errors import CheckpointError
from app.training.reading import sha256_of

FORMAT_VERSION = 1
"""Version of the checkpoint's keys and of its manifest."""

_REQUIRED = {"model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "step", "loss"}
_REQUIRED |= {"config", "timestamp"}
_NAME = re.compile(r"checkpoint_step_(\d+)\.pt", re.ASCII)
_BLOCK_BYTES = 1 << 20
_MOST_ROOM_LEFT = 16 << 20


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What the manifest says of a complete checkpoint."""

    path: str
    """The checkpoint file."""
    step: int
    """Optimizer steps done."""
    loss: float
    """Training loss of that step, in nats."""
    timestamp: float
    """When it was written, in seconds since the epoch."""
    size_bytes: int
    """Size of the file."""
    sha256: str
    """Hex digest of the file."""
    metric: str | None = None
    """What it is compared by with others, smaller being better; None if it was not measured."""
    metric_value: float | None = None
    """The metric at that step."""
    is_best: bool = False
    """Whether no other checkpoint of the run has a better metric."""


class HashingFile:
    """A file to write to that takes the sha256 on the way, so that nothing is read back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data`. A failure is kept, since torch reports it as something else."""
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(data)
        length = memoryview(data).nbytes
        self.size += length
        return length

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def manifest_path(checkpoint: Path) -> Path:
    """Return the path of a checkpoint's manifest: beside it, with the ending `.json`."""
    return checkpoint.with_suffix(".json")


def write_checkpoint(
    path: Path,
    state: Mapping[str, Any],
    metric: tuple[str, float] | None = None,
    before_rename: Callable[[], object] | None = None,
) -> CheckpointInfo:
    """Write `state` to `path` and make it durable; on failure nothing of it is left.

    `before_rename` runs when the bytes are safe and the checkpoint does not yet exist: what must be
    durable no later than the checkpoint is made durable there.

    Raises:
        CheckpointError: The disk is full or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_room(path.parent, state)
        size, sha256 = _write_file(temporary, state)
        if before_rename:
            before_rename()
        # Where this replaces a checkpoint, the old manifest must not vouch for the new file.
        manifest_path(path).unlink(missing_ok=True)
        os.replace(temporary, path)
        sync_folder(path.parent)
        info = CheckpointInfo(
            path=str(path),
            step=int(state["step"]),
            loss=float(state["loss"]),
            timestamp=float(state["timestamp"]),
            size_bytes=size,
            sha256=sha256,
            metric=metric[0] if metric else None,
            metric_value=metric[1] if metric else None,
        )
        _write_manifest(info)
    except OSError as error:
        _discard(temporary)
        raise _write_error(path, error) from error
    except BaseException:
        _discard(temporary)
        raise
    return info


def _require_room(folder: Path, state: Mapping[str, Any]) -> None:
    """Refuse what cannot fit before it takes the last of the disk.

    The run's metrics and log grow on the same disk while a checkpoint is written, so a checkpoint
    leaves them as much room as it takes itself, up to 16 MiB.

    Raises:
        OSError: With ENOSPC.
    """
    size = _tensor_bytes(state)
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    # A file system that tells no size, as some network mounts do, is left to speak for itself.
    needed = size + min(size, _MOST_ROOM_LEFT)
    if disk.f_blocks and free < needed:
        room = f"it needs {needed / 1e6:.1f} MB, room for the run's metrics included, and "
        room += f"{free / 1e6:.1f} MB are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {room}", str(folder))


def _tensor_bytes(state: object) -> int:
    """Bytes of all tensors in nested state; one that occurs twice counts once, as in the file."""
    sizes: dict[int, int] = {}

    def visit(value: object) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit(state)
    return sum(sizes.values())


def _write_file(path: Path, state: Mapping[str, Any]) -> tuple[int, str]:
    with path.open("wb") as raw:
        file = HashingFile(raw)
        try:
            torch.save(dict(state), file)  # type: ignore[arg-type]
            raw.flush()
        except (OSError, RuntimeError) as error:
            raise (file.error or error) from None
        os.fsync(raw.fileno())
    return file.size, file.hexdigest()


def _write_manifest(info: CheckpointInfo) -> None:
    fields = asdict(info)
    fields["file"] = Path(fields.pop("path")).name
    del fields["is_best"]  # depends on the other checkpoints; set when they are listed
    write_atomically(
        manifest_path(Path(info.path)),
        json.dumps({"format_version": FORMAT_VERSION, **fields}, indent=2) + "\n",
    )


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file as a whole, durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        error.filename = error.filename or str(path)  # a write knows a descriptor, not a name
        raise
    sync_folder(path.parent)


def _discard(path: Path) -> None:
    """Remove a file whose writing failed; the failure itself is what matters."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: OSError) -> CheckpointError:
    remedy = "check the folder and its permissions"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = (
            "free some space on that disk; a new run may keep fewer checkpoints "
            "(`max_checkpoints_to_keep`)"
        )
    return CheckpointError(
        f"the checkpoint {path} could not be written ({error.strerror or error}); earlier "
        f"checkpoints are untouched; {remedy}"
    )


def read_manifest(checkpoint: Path) -> CheckpointInfo:
    """Return what the manifest of a checkpoint says.

    Raises:
        CheckpointError: The file is not a manifest of this checkpoint.
    """
    try:
        fields = json.loads(manifest_path(checkpoint).read_text(encoding="utf-8"))
        if fields.pop("format_version") != FORMAT_VERSION:
            raise ValueError("it has another format version")
        if fields.pop("file") != checkpoint.name:
            raise ValueError("it describes another file")
        return CheckpointInfo(path=str(checkpoint), **fields)
    except FileNotFoundError:
        raise CheckpointError(f"{checkpoint} has no manifest: its save never finished") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the manifest of {checkpoint} cannot be read: {error}") from error


def verify_size(info: CheckpointInfo) -> None:
    """Check that the file is there and as long as it was: the cheap half of verification."""
    try:
        size = os.stat(info.path).st_size
    except OSError as error:
        raise CheckpointError(f"{info.path} cannot be read: {error.strerror}") from None
    if size != info.size_bytes:
        raise CheckpointError(
            f"{info.path} has {size} bytes and its manifest says {info.size_bytes}: it is damaged"
        )


def verify(info: CheckpointInfo) -> None:
    """Check the whole file against its manifest. Reads all of it."""
    verify_size(info)
    with open(info.path, "rb") as file:
        found = sha256_of(file)
    if found != info.sha256:
        raise CheckpointError(f"{info.path} does not match its manifest's sha256: it is damaged")


def verify_unlisted(path: Path) -> None:
    """Check a file without its manifest by the checksums inside it; it must hold a run's state."""
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                _verify_part(archive, part)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is not a complete checkpoint: {error}") from None
    step, named = read_state(path, mapped=True)["step"], step_in_name(path)
    if named is not None and named != step:
        raise CheckpointError(
            f"{path} is named for step {named} and holds step {step}; rename it "
            f"checkpoint_step_{step}.pt"
        )


def _verify_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """Raise `BadZipFile` where its content does not match its checksum."""
    with archive.open(part) as stream:
        while block := stream.read(_BLOCK_BYTES):
            progress.advanced(len(block))


def step_in_name(path: Path) -> int | None:
    """Return the step that a checkpoint's file name gives; None for another kind of name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return the content of a verified checkpoint, tensors on the CPU.

    Never executes what it reads. `mapped` leaves the tensors in the file until they are used.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        first_line = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path} is not a checkpoint of this library: {first_line}") from None
    if not isinstance(state, dict) or not state.keys() >= _REQUIRED:
        lacking = sorted(_REQUIRED - set(state)) if isinstance(state, dict) else sorted(_REQUIRED)
        raise CheckpointError(
            f"{path} is not a checkpoint of this library: it lacks {', '.join(lacking)}"
        )
    version = state.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this release reads {FORMAT_VERSION}; "
            "load it with the release that wrote it"
        )
    return state
