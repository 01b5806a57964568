"""Finds a complete checkpoint that the last claimed attempt saved and could not register.

Its worker was killed, or Redis was away, between the save and the registration. The spool was
synced before the checkpoint became complete, so its metrics are there too: nothing of that work
needs to be done again.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from app.training.config import TrainingConfig
from artifact_store import ArtifactError, ArtifactInfo, GuardedStore, attempt_prefix
from job_store.attempts import AttemptStore, Unregistered
from job_store.ids import new_id
from job_store.records import AttemptRecord, CheckpointRecord, JobRecord, JobStatus
from training_worker.checkpoint_metrics import measured_metrics
from training_worker.copies import bring_manifest, bring_spool
from training_worker.spool import SpoolReader

logger = logging.getLogger(__name__)

_NAME = re.compile(r".*/checkpoint_step_(\d+)\.pt")


def find_unregistered(
    store: AttemptStore,
    artifacts: GuardedStore,
    job_id: str,
    attempt: int,
    on_read: Callable[[int], object],
) -> Unregistered | None:
    """Return the newest sound checkpoint of the attempt claimed last that is not registered.

    None where there is none beyond the registered ones and up to `max_steps`, or where a person has
    chosen where to begin. Reads all of the checkpoint's file; `on_read` gets the bytes of each
    chunk.

    Raises:
        ArtifactStoreAwayError: The store is away. Errors of the job store pass through.
    """
    job = store.get(job_id)
    waits = job.status is JobStatus.QUEUED and job.attempt == attempt
    author = _author(store.attempts(job_id)) if waits else None
    if author is None:
        return None
    registered = store.checkpoints(job_id)
    newest = max([author.start_step, *(one.step for one in registered)])
    deleted = {one.artifact for one in store.retired_checkpoints(job_id)}
    for key in _candidates(artifacts, job, author, newest):
        if key in deleted:  # its file is on its way out
            continue
        checkpoint = _sound(artifacts, job, author, key, newest, on_read)
        if checkpoint is not None:
            return Unregistered(checkpoint, author.claim_id)
    return None


def _author(attempts: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """Return the attempt claimed last; None where a person has chosen since where to begin.

    Such a choice makes an entry without a claim. Other attempts have none before they are claimed.
    """
    newest = attempts[-1] if attempts else None
    return newest if newest and newest.claim_id else None


def _candidates(
    artifacts: GuardedStore, job: JobRecord, author: AttemptRecord, newest: int
) -> Iterator[str]:
    """Yield the keys of the attempt's checkpoints beyond step `newest`, the last one first."""
    prefix = attempt_prefix(job.job_id, author.attempt, author.claim_id)
    names = (_NAME.fullmatch(key) for key in artifacts.keys(prefix))
    steps = {int(name[1]): name[0] for name in names if name}
    for step in sorted(steps, reverse=True):
        if newest < step <= job.max_steps:
            yield steps[step]


def _sound(
    artifacts: GuardedStore,
    job: JobRecord,
    author: AttemptRecord,
    key: str,
    newest: int,
    on_read: Callable[[int], object],
) -> CheckpointRecord | None:
    from app.training.checkpoint_file import read_manifest
    from app.training.errors import CheckpointError

    config, _ = TrainingConfig.read(json.loads(job.config_document))
    try:
        info = read_manifest(bring_manifest(artifacts, key))
        path = artifacts.bring(ArtifactInfo(key, info.size_bytes, info.sha256), on_read)
        bring_spool(artifacts, key.rpartition("/")[0])
    except (CheckpointError, ArtifactError) as error:
        artifacts.require()
        logger.warning("an unregistered checkpoint is passed over: %s", error)
        return None
    if not _is_spooled(path.parent, info.step, newest, config.logging_steps):
        logger.warning("%s is passed over: the spool lacks points before it", path)
        return None
    return CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=job.job_id,
        attempt=author.attempt,
        step=info.step,
        loss=info.loss,
        size_bytes=info.size_bytes,
        sha256=info.sha256,
        artifact=key,
        created_at=0,
        best_score=info.metric_value if info.metric == config.best_metric else None,
        metrics=measured_metrics(info, _validated_at(path.parent, info.step)),
    )


def _validated_at(folder: Path, step: int) -> dict[str, float]:
    """Return the validation metrics that were logged at `step`."""
    with closing(SpoolReader(folder)) as reader:
        reader.seek_behind(step - 1)
        points, _ = reader.peek()
    point = points[0].values if points and points[0].step == step else {}
    return {name: value for name, value in point.items() if name.startswith("val_")}


def _is_spooled(folder: Path, step: int, after: int, logging_steps: int) -> bool:
    """Whether the spool has all points logged between `after` and `step`.

    It is in order, so the first and the last of them are looked for. The first is missing where a
    recovery has found an older record than the attempt began with. The point of `step` itself may
    be missing where its validation was cut short; the checkpoint holds it then, and the next
    attempt completes it.
    """
    first = after // logging_steps * logging_steps + logging_steps
    last = (step - 1) // logging_steps * logging_steps
    if last < first:
        return True
    with closing(SpoolReader(folder)) as reader:
        return _next_step(reader, after) <= first and _next_step(reader, last - 1) == last


def _next_step(reader: SpoolReader, step: int) -> float:
    """Return the step of the first point behind `step`; infinity without one."""
    reader.seek_behind(step)
    points, _ = reader.peek()
    return points[0].step if points else math.inf
