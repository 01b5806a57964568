"""Finds the files of the datasets that a job names, and bounds what the job may read."""

from __future__ import annotations

from typing import Any

from app.training.reading import restrict_to
from artifact_store import (
    DATASETS_PREFIX,
    ArtifactError,
    ArtifactStore,
    ArtifactStoreAwayError,
)
from job_store.errors import NotFoundError
from job_store.records import JobRecord
from job_store.workers import WorkerRegistry
from training_worker.stored_files import StoredFiles

SCHEME = "dataset://"
CHECKPOINT_SCHEME = "checkpoint://"


class DatasetUnavailableError(ValueError):
    """A dataset or checkpoint that a job names is gone; another try does not help."""


def dataset_file(named: str, registry: WorkerRegistry, files: StoredFiles) -> str:
    """Return the path behind `named`: itself, or the file of an uploaded `dataset://ID`.

    Raises:
        DatasetUnavailableError: The dataset was deleted, or its file is gone.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    if not named.startswith(SCHEME):
        return named
    try:
        record = registry.get_dataset(named.removeprefix(SCHEME))
        return str(files.find(record))
    except ArtifactStoreAwayError:
        raise  # the dataset is where it was
    except (NotFoundError, ArtifactError) as error:
        reason = f"dataset {named!r} is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; upload it again and start a new job") from None


def find_data(record: JobRecord, config: Any, registry: WorkerRegistry, files: StoredFiles) -> None:
    """Write the paths of the job's data into its configuration.

    Raises:
        DatasetUnavailableError: The dataset was deleted, or its file is gone.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    if record.dataset_path:
        config.dataset_path = dataset_file(record.dataset_path, registry, files)
    if record.val_dataset_path:
        config.val_dataset_path = dataset_file(record.val_dataset_path, registry, files)
    for source in config.data.sources:
        source.path = dataset_file(source.path, registry, files)


def find_weights(config: Any, registry: WorkerRegistry, files: StoredFiles) -> None:
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
        config.initial_weights = str(files.find(record))
    except ArtifactStoreAwayError:
        raise  # the checkpoint is where it was
    except (NotFoundError, ArtifactError) as error:
        reason = f"`initial_weights` is {named!r}, which is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; start a new job from another") from None


def restrict_reading(record: JobRecord, artifacts: ArtifactStore) -> None:
    """Let this process read only what the job may name: its roots, and uploaded datasets.

    Jobs of a release that recorded no roots may read what they name.
    """
    if record.data_roots is not None:
        restrict_to([*record.data_roots, artifacts.folder(DATASETS_PREFIX)])
