"""Keeps a job's checkpoints to the number that its configuration asks for, over all attempts.

The library's own rotation sees one folder, and each attempt has its own; so in the service the
registry decides. A checkpoint leaves the registry, by a fenced call, before its files go; should
this process die in between, the control plane sweeps them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from artifact_store import ArtifactStore, checkpoint_keys
from job_store.attempts import AttemptStore
from job_store.records import CheckpointRecord, Claimed

logger = logging.getLogger(__name__)


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
            for key in checkpoint_keys(record.artifact):
                artifacts.delete(key)
            store.forget_checkpoint(record.job_id, record.checkpoint_id)
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
