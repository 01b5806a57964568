"""Which checkpoint an attempt continues: the newest registered one whose bytes are sound."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from artifact_store import ArtifactDamagedError, ArtifactNotFoundError
from job_store.attempts import AttemptStore
from job_store.records import CheckpointRecord, Claimed
from training_worker.stored_files import StoredFiles

logger = logging.getLogger(__name__)


class CheckpointMissingError(Exception):
    """A file that the registry names is not in the store; another try may find it."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The checkpoint that was chosen for an attempt to continue.

    After it is loaded, the attempt reports a `StartReport`.
    """

    path: Path | None
    """The checkpoint's file; None starts at step 0."""
    step: int
    record: CheckpointRecord | None
    message: str = ""
    """What a person should know about the choice; empty where it is the newest checkpoint."""

    @property
    def is_of_parent(self) -> bool:
        """Whether it is the checkpoint that a fork has of its parent."""
        return self.record is not None and self.record.attempt == 0


def choose_resume_point(store: AttemptStore, files: StoredFiles, claimed: Claimed) -> ResumePoint:
    """Return the newest registered checkpoint that is whole; the registry decides, never a folder.

    A damaged file is skipped with a line in the job's log, and where all are damaged the run begins
    at step 0. A missing file is an error instead: its volume may only be away.

    Raises:
        CheckpointMissingError: A file that the registry names is not in the store; another try may
            find it.
        ArtifactStoreAwayError: The store cannot be reached, or another one is in its place.
    """
    newest = claimed.resume_from
    if newest is None:
        return ResumePoint(None, 0, None)
    if (path := _sound_file(files, newest)) is not None:
        return ResumePoint(path, newest.step, newest)
    registered = store.checkpoints(claimed.record.job_id)
    older = [record for record in registered if record.step < newest.step]
    for record in reversed(older):
        if (path := _sound_file(files, record)) is not None:
            message = f"the checkpoint of step {newest.step} is damaged: it continues from step "
            return ResumePoint(path, record.step, record, f"{message}{record.step}")
    message = (
        f"all registered checkpoints ({1 + len(older)}) are damaged, the newest of step "
        f"{newest.step}: the job began again at step 0"
    )
    logger.warning("%s", message)
    return ResumePoint(None, 0, None, message)


def _sound_file(files: StoredFiles, record: CheckpointRecord) -> Path | None:
    try:
        return files.take(record)
    except ArtifactDamagedError as error:
        logger.warning("cannot resume from step %d: %s", record.step, error)
        return None
    except ArtifactNotFoundError as error:
        job_id = record.job_id
        raise CheckpointMissingError(
            f"the file of checkpoint {record.checkpoint_id} of step {record.step} is missing: "
            f"{record.artifact}; put it back and resume, or give that checkpoint up: "
            f"`resume {job_id} --checkpoint ID` continues from another one, "
            f"`resume {job_id} --from-start` begins at step 0"
        ) from error
