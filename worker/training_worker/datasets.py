"""Finds the files of the datasets that a job names, and bounds what the job may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.training import progress
from app.training.reading import permit, restrict_to
from artifact_store import (
    DATASETS_PREFIX,
    ArtifactError,
    ArtifactStore,
    ArtifactStoreAwayError,
)
from job_store.errors import NotFoundError
from job_store.records import CheckpointRecord, DatasetRecord, JobRecord
from job_store.workers import WorkerRegistry

SCHEME = "dataset://"
CHECKPOINT_SCHEME = "checkpoint://"


class DatasetUnavailableError(ValueError):
    """A dataset or checkpoint that a job names is gone; another try does not help."""


def dataset_file(named: str, registry: WorkerRegistry, artifacts: ArtifactStore) -> str:
    """Return the path behind `named`: itself, or the file of an uploaded `dataset://ID`.

    Raises:
        DatasetUnavailableError: The dataset was deleted, or its file is gone.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    if not named.startswith(SCHEME):
        return named
    try:
        record = registry.get_dataset(named.removeprefix(SCHEME))
        return str(_file_of(record, artifacts))
    except ArtifactStoreAwayError:
        raise  # the dataset is where it was
    except (NotFoundError, ArtifactError) as error:
        reason = f"dataset {named!r} is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; upload it again and start a new job") from None


def _file_of(record: DatasetRecord | CheckpointRecord, artifacts: ArtifactStore) -> Path:
    """Return the store's own file, or a copy of it."""
    if (path := artifacts.local_path(record.artifact)) is not None:
        artifacts.stat(record.artifact)
        return path
    return artifacts.bring(
        record.artifact,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        on_read=progress.advanced,
    )


def find_data(
    record: JobRecord, config: Any, registry: WorkerRegistry, artifacts: ArtifactStore
) -> None:
    """Write the paths of the job's data into its configuration.

    Raises:
        DatasetUnavailableError: The dataset was deleted, or its file is gone.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    if record.dataset_path:
        config.dataset_path = dataset_file(record.dataset_path, registry, artifacts)
    if record.val_dataset_path:
        config.val_dataset_path = dataset_file(record.val_dataset_path, registry, artifacts)
    for source in config.data.sources:
        source.path = dataset_file(source.path, registry, artifacts)


def find_weights(config: Any, registry: WorkerRegistry, artifacts: ArtifactStore) -> None:
    """Write the path of `checkpoint://ID` in the job's initial weights into its configuration.

    Raises:
        DatasetUnavailableError: The checkpoint was deleted, or its file is gone.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    named = config.initial_weights or ""
    if not named.startswith(CHECKPOINT_SCHEME):
        return
    try:
        record = registry.get_checkpoint(named.removeprefix(CHECKPOINT_SCHEME))
        config.initial_weights = str(_file_of(record, artifacts))
    except ArtifactStoreAwayError:
        raise  # the checkpoint is where it was
    except (NotFoundError, ArtifactError) as error:
        reason = f"`initial_weights` is {named!r}, which is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; start a new job from another") from None
    permit(config.initial_weights)


def restrict_reading(record: JobRecord, artifacts: ArtifactStore) -> None:
    """Let this process read only what the job may name: its roots, and uploaded datasets.

    Jobs of a release that recorded no roots may read what they name.
    """
    if record.data_roots is not None:
        restrict_to([*record.data_roots, artifacts.folder(DATASETS_PREFIX)])
