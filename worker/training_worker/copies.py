"""This machine's copies of what earlier attempts stored, where the store has no files here."""

from __future__ import annotations

import shutil
from pathlib import Path

from artifact_store import ArtifactStore, checkpoint_keys, job_prefix, naming
from training_worker import spool


def bring_spool(artifacts: ArtifactStore, prefix: str) -> Path | None:
    """Return a folder with the attempt's spool and output; None where there is none.

    From a bucket come the points before each checkpoint that was stored, and no output.

    Raises:
        ArtifactStoreAwayError: The store is away.
    """
    folder = artifacts.folder(prefix)
    if artifacts.local_path(prefix) is None and not (folder / spool.FILE_NAME).exists():
        parts = [name for name in artifacts.names(prefix) if spool.is_part(name)]
        if parts:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / spool.FILE_NAME
            with naming(path), path.open("wb") as file:
                for part in parts:
                    file.writelines(artifacts.open_range(f"{prefix}/{part}"))
    return folder if folder.is_dir() else None


def bring_manifest(artifacts: ArtifactStore, key: str) -> Path:
    """Return the path that a checkpoint's file has or would have here; its manifest is beside it.

    Raises:
        ArtifactNotFoundError: The checkpoint is not complete in the store.
    """
    path = artifacts.folder(key)
    if artifacts.local_path(key) is None:
        content = b"".join(artifacts.open_range(checkpoint_keys(key)[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path.with_suffix(".json")):
            path.with_suffix(".json").write_bytes(content)
    return path


def drop_copy(artifacts: ArtifactStore, key: str) -> None:
    """Remove this machine's copy of a file that is not needed any more."""
    if artifacts.local_path(key) is None:
        artifacts.folder(key).unlink(missing_ok=True)


def remove_copies(artifacts: ArtifactStore, job_id: str) -> None:
    """Remove what this machine holds of a job that the store holds as well."""
    prefix = job_prefix(job_id)
    if artifacts.local_path(prefix) is None:
        shutil.rmtree(artifacts.folder(prefix), ignore_errors=True)
