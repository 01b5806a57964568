"""Which checkpoint an attempt continues: the newest registered one whose bytes are sound."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from app.training import progress
from artifact_store import ArtifactDamagedError, ArtifactNotFoundError, ArtifactStore
from job_store.attempts import AttemptStore
from job_store.records import CheckpointRecord, Claimed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where an attempt begins."""

    path: Path | None
    """The checkpoint's file; None starts afresh."""
    step: int
    record: CheckpointRecord | None


def choose_resume_point(
    store: AttemptStore, artifacts: ArtifactStore, claimed: Claimed
) -> ResumePoint:
    """The newest registered checkpoint that is whole; the registry decides, never a folder.

    A damaged or missing file is passed over with a line in the job's log.
    """
    newest = claimed.resume_from
    if newest is None:
        return ResumePoint(None, 0, None)
    candidates = [newest]
    while candidates:
        candidate = candidates.pop()
        if (path := _sound_file(artifacts, candidate)) is not None:
            return ResumePoint(path, candidate.step, candidate)
        if candidate is newest:
            older = store.checkpoints(claimed.record.job_id)
            candidates = [record for record in older if record.step < newest.step]
    logger.warning("no registered checkpoint of this job is sound; it starts afresh")
    return ResumePoint(None, 0, None)


def _sound_file(artifacts: ArtifactStore, record: CheckpointRecord) -> Path | None:
    path = artifacts.local_path(record.artifact)
    try:
        artifacts.verify(
            record.artifact,
            size_bytes=record.size_bytes,
            sha256=record.sha256,
            on_read=progress.advanced,
        )
    except (ArtifactDamagedError, ArtifactNotFoundError) as error:
        logger.warning("cannot resume from step %d: %s", record.step, error)
        return None
    return path
