"""From the dataset a job names to files on this machine."""

from __future__ import annotations

from artifact_store import ArtifactError, ArtifactStore
from job_store.errors import NotFound
from job_store.workers import WorkerRegistry

SCHEME = "dataset://"


class DatasetUnavailableError(ValueError):
    """The dataset that a job names cannot be had; trying again does not help."""


def dataset_file(named: str, registry: WorkerRegistry, artifacts: ArtifactStore) -> str:
    """The path behind `named`: itself, or the file of an uploaded `dataset://ID`."""
    if not named.startswith(SCHEME):
        return named
    try:
        record = registry.get_dataset(named.removeprefix(SCHEME))
        artifacts.stat(record.artifact)
    except (NotFound, ArtifactError) as error:
        reason = f"dataset {named!r} is gone: {error}"
        raise DatasetUnavailableError(f"{reason}; upload it again and start a new job") from None
    return str(artifacts.local_path(record.artifact))
