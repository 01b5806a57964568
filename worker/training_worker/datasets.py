"""From the dataset a job names to files on this machine."""

from __future__ import annotations

from app.training.reading import restrict_to
from artifact_store import (
    DATASETS_PREFIX,
    ArtifactError,
    ArtifactStore,
    ArtifactStoreAwayError,
)
from job_store.errors import NotFound
from job_store.records import JobRecord
from job_store.workers import WorkerRegistry

SCHEME = "dataset://"


class DatasetUnavailableError(ValueError):
    """The dataset that a job names cannot be had; trying again does not help."""


def dataset_file(named: str, registry: WorkerRegistry, artifacts: ArtifactStore) -> str:
    """The path behind `named`: itself, or the file of an uploaded `dataset://ID`.

    Raises `DatasetUnavailableError`, `ArtifactStoreAwayError`.
    """
    if not named.startswith(SCHEME):
        return named
    try:
        record = registry.get_dataset(named.removeprefix(SCHEME))
        artifacts.stat(record.artifact)
    except ArtifactStoreAwayError:
        raise  # the dataset is where it was
    except (NotFound, ArtifactError) as error:
        reason = f"dataset {named!r} is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; upload it again and start a new job") from None
    return str(artifacts.local_path(record.artifact))


def restrict_reading(record: JobRecord, artifacts: ArtifactStore) -> None:
    """Let this process read what the job may name alone: its roots, and uploaded datasets.

    Jobs of a release that recorded no roots may read what they name.
    """
    if record.data_roots is not None:
        uploads = artifacts.local_path(DATASETS_PREFIX)
        restrict_to([*record.data_roots, *([uploads] if uploads else [])])
