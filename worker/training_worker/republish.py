"""Sends each point to the stream that shows its step, and what earlier attempts did not deliver."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from artifact_store import ArtifactStore, attempt_prefix
from job_store.attempt_history import LOGGED_ATTEMPTS
from job_store.attempts import AttemptStore
from job_store.history_records import MetricPoint
from job_store.records import AttemptRecord, Claimed, FencingToken, Signals
from job_store.segments import attempt_showing
from training_worker.copies import bring_spool
from training_worker.output import OutputReader
from training_worker.spool import SpoolReader

logger = logging.getLogger(__name__)


def republish_missing(
    store: AttemptStore,
    artifacts: ArtifactStore,
    claimed: Claimed,
    resume_step: int,
    on_published: Callable[[int], object] = lambda points: None,
) -> None:
    """Complete the streams that readers see: points up to `resume_step`, and output.

    The store drops points that it has, and points that are beyond a stream's end. It is asked first
    what each stream holds, so that spools which were delivered as a whole are not read.
    `on_published` gets the number of points of each batch.
    """
    for earlier in store.attempts(claimed.record.job_id):
        if earlier.attempt >= claimed.token.attempt or not earlier.claim_id:
            continue
        prefix = attempt_prefix(claimed.record.job_id, earlier.attempt, earlier.claim_id)
        if (folder := bring_spool(artifacts, prefix)) is not None:
            _republish_points(store, claimed, earlier, folder, resume_step, on_published)
            if earlier.attempt > claimed.token.attempt - LOGGED_ATTEMPTS:
                _republish_output(store, claimed, earlier, folder)


def publish_points(
    store: AttemptStore,
    token: FencingToken,
    author: int,
    start_step: int,
    points: Sequence[MetricPoint],
) -> Signals:
    """Deliver what the attempt `author` wrote, each point to the stream that shows its step.

    An attempt that resumes in the middle of a validation completes the line of its resume step,
    and readers see that step among the points of an earlier attempt.
    """
    beyond = bisect_right(points, start_step, key=lambda point: point.step)
    attempts = store.attempts(token.job_id) if beyond else []
    signals = Signals(False)
    for point in points[:beyond]:
        holder = attempt_showing(attempts, point.step)
        signals = store.publish_metrics(token, [point], of_attempt=holder)
    if own := points[beyond:]:
        signals = store.publish_metrics(token, own, of_attempt=author)
    return signals


def _republish_points(
    store: AttemptStore,
    claimed: Claimed,
    earlier: AttemptRecord,
    folder: Path,
    resume_step: int,
    on_published: Callable[[int], object],
) -> None:
    end_step = min(resume_step, resume_step if earlier.end_step is None else earlier.end_step)
    held = -1 if earlier.last_step is None else earlier.last_step
    if held > end_step:
        return
    with closing(SpoolReader(folder)) as reader:
        reader.seek_behind(held)
        while True:
            points, end = reader.peek()
            lacking = [point for point in points if point.step <= end_step]
            if lacking:
                author = earlier.attempt
                logger.info("publishing %d points of attempt %d", len(lacking), author)
                publish_points(store, claimed.token, author, earlier.start_step, lacking)
                on_published(len(lacking))
            if end == reader.offset or len(lacking) < len(points):
                return
            reader.advance(end)


def _republish_output(
    store: AttemptStore, claimed: Claimed, earlier: AttemptRecord, folder: Path
) -> None:
    next_seq = 0 if earlier.last_log_seq is None else earlier.last_log_seq + 1
    reader = OutputReader(folder, next_seq=next_seq)
    while lines := reader.peek(final=True):
        store.append_logs(claimed.token, lines, of_attempt=earlier.attempt)
        reader.advance()
