"""Keeps a job's checkpoints to the number that its configuration asks for, over all attempts.

The library's own rotation sees one folder, and each attempt has its own; so in the service the
registry decides. A checkpoint leaves the registry, by a fenced call, before its files go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from artifact_store import ArtifactStore
from job_store.attempts import AttemptStore
from job_store.records import CheckpointRecord, Claimed

logger = logging.getLogger(__name__)

MANIFEST_ENDING = ".json"
"""A checkpoint's manifest has its name with this in place of `.pt`."""


def retire_surplus(
    store: AttemptStore, artifacts: ArtifactStore, claimed: Claimed, keep: int
) -> set[str]:
    """Delete the oldest checkpoints beyond `keep`; never the best, newest or resumed one.

    Returns their ids.
    """
    gone = set()
    resumed = claimed.resume_from.checkpoint_id if claimed.resume_from else ""
    for record in surplus(store.checkpoints(claimed.record.job_id), keep, resumed):
        if store.unregister_checkpoint(claimed.token, record.checkpoint_id):
            delete_files(artifacts, record)
            gone.add(record.checkpoint_id)
            logger.info("deleted checkpoint %s of step %d", record.checkpoint_id, record.step)
    return gone


def surplus(
    records: Sequence[CheckpointRecord], keep: int, resumed_id: str
) -> list[CheckpointRecord]:
    """Which of `records` (ascending by step) are too many; all that stay count as kept."""
    protected = {record.checkpoint_id for record in records if record.is_best}
    protected |= {record.checkpoint_id for record in records[-1:]} | {resumed_id}
    spare = [record for record in records if record.checkpoint_id not in protected]
    return spare[: max(0, len(records) - keep)]


def delete_files(artifacts: ArtifactStore, record: CheckpointRecord) -> None:
    """Remove a checkpoint's files, manifest first, so that it is never half there."""
    artifacts.delete(manifest_key(record.artifact))
    artifacts.delete(record.artifact)


def manifest_key(artifact: str) -> str:
    """Where the manifest of a checkpoint stands."""
    return artifact.removesuffix(".pt") + MANIFEST_ENDING
