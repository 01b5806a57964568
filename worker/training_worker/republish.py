"""Publishes what an earlier attempt had written to disk and could not deliver any more."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from artifact_store import ArtifactStore, attempt_prefix
from job_store.attempts import AttemptStore
from job_store.records import AttemptRecord, Claimed
from training_worker.output import OutputReader
from training_worker.spool import SpoolReader

logger = logging.getLogger(__name__)


def republish_missing(
    store: AttemptStore, artifacts: ArtifactStore, claimed: Claimed, resume_step: int
) -> None:
    """Complete the streams of earlier attempts: points up to `resume_step`, and output.

    The store knows what each stream holds and drops the rest as duplicates or as beyond its cut;
    asking first saves reading spools that were delivered whole.
    """
    for earlier in store.attempts(claimed.record.job_id):
        if earlier.attempt >= claimed.token.attempt or not earlier.claim_id:
            continue
        prefix = attempt_prefix(claimed.record.job_id, earlier.attempt, earlier.claim_id)
        folder = artifacts.local_path(prefix)
        if folder is not None and folder.is_dir():  # else it was written on another machine
            _republish_points(store, claimed, earlier, folder, resume_step)
            _republish_output(store, claimed, earlier, folder)


def _republish_points(
    store: AttemptStore, claimed: Claimed, earlier: AttemptRecord, folder: Path, resume_step: int
) -> None:
    end_step = min(resume_step, resume_step if earlier.end_step is None else earlier.end_step)
    if earlier.last_step is not None and earlier.last_step > end_step:
        return
    held = (-1, -1) if earlier.last_step is None else (earlier.last_step, earlier.last_part)
    with closing(SpoolReader(folder)) as reader:
        reader.seek_behind(*held)
        _publish_from(reader, store, claimed, earlier.attempt, end_step)


def _publish_from(
    reader: SpoolReader, store: AttemptStore, claimed: Claimed, attempt: int, end_step: int
) -> None:
    while True:
        points, end = reader.peek()
        if end == reader.offset:
            return
        lacking = [point for point in points if point.step <= end_step]
        if lacking:
            logger.info("publishing %d points of attempt %d", len(lacking), attempt)
            store.publish_metrics(claimed.token, lacking, of_attempt=attempt)
        reader.advance(end)


def _republish_output(
    store: AttemptStore, claimed: Claimed, earlier: AttemptRecord, folder: Path
) -> None:
    next_seq = 0 if earlier.last_log_seq is None else earlier.last_log_seq + 1
    reader = OutputReader(folder, next_seq=next_seq)
    while lines := reader.peek(final=True):
        store.append_logs(claimed.token, lines, of_attempt=earlier.attempt)
        reader.advance()
