"""A job of a release that wrote no journal, as far as its files tell of it.

They hold its configuration, its checkpoints, metrics and output. What only Redis knew is lost: its
name, the limits of its execution, and whether it was to go on. So it comes back as stopped, or as
succeeded where its last step was saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from app.training.config import TrainingConfig
from artifact_store import ArtifactNotFoundError, ArtifactStore, job_prefix
from job_store.codec import encode_checkpoint, new_job_fields
from job_store.ids import new_id, time_of_id
from job_store.records import RECORD_VERSION, CheckpointRecord, NewJob

REMARK = "it has no journal: name, execution and requests are not known any more"
_MANIFEST = re.compile(r"(.*/attempts/(\d+)-(\w+))/checkpoint_step_\d+\.json", re.ASCII)
_CONFIG = "config.yaml"


def read_job(store: ArtifactStore, job_id: str) -> dict[str, Any] | None:
    """Return the job's record in the form of a journal's entry; None where it has no configuration.

    Raises:
        ConfigError: The configuration in its folder cannot be read.
    """
    keys = store.keys(job_prefix(job_id))
    configs = sorted((_number(key), key) for key in keys if key.endswith(f"/{_CONFIG}"))
    if not configs:
        return None
    config, _ = TrainingConfig.read_document(_text(store, configs[-1][1]))
    config.resume_from_checkpoint = False
    records = sorted(_checkpoints(store, job_id, keys, config), key=lambda one: one.attempt)
    by_step = {record.step: record for record in records}
    scores = {r.checkpoint_id: repr(r.best_score) for r in records if r.best_score is not None}
    registered = {record.checkpoint_id: str(step) for step, record in by_step.items()}
    created_at = time_of_id(job_id)
    return {
        "id": job_id,
        "fields": _fields(job_id, config, configs[-1][0], max(by_step, default=0), created_at)
        | {"best_checkpoint_id": min(scores, key=lambda id: float(scores[id]), default="")},
        "config": json.dumps(config.to_dict()),
        "attempts": {},
        "checkpoints": registered,
        "checkpoint_scores": {id: score for id, score in scores.items() if id in registered},
        "checkpoint_data": {
            record.checkpoint_id: f"{created_at}\n{encode_checkpoint(record)}"
            for record in by_step.values()
        },
        "retired_checkpoints": [],
        "requests": {},
    }


def _fields(
    job_id: str, config: TrainingConfig, attempt: int, newest: int, created_at: int
) -> dict[str, str]:
    new = NewJob(
        config_document="",
        max_steps=config.max_steps,
        dataset_path=str(config.dataset_path or ""),
        val_dataset_path=str(config.val_dataset_path or ""),
    )
    words = new_job_fields(new)
    ended = newest >= config.max_steps
    return dict(zip(words[::2], words[1::2], strict=True)) | {
        "v": str(RECORD_VERSION),
        "job_id": job_id,
        "status": "succeeded" if ended else "stopped",
        "attempt": str(attempt),
        "current_step": str(newest),
        "message": f"recovered from its files, without a journal, at step {newest}",
        "created_at": str(created_at),
        "updated_at": str(created_at),
        "started_at": str(created_at),
    }


def _checkpoints(
    store: ArtifactStore, job_id: str, keys: list[str], config: TrainingConfig
) -> Iterator[CheckpointRecord]:
    """Yield the complete checkpoints in the folders of all attempts."""
    for key in keys:
        if not (found := _MANIFEST.fullmatch(key)):
            continue
        try:
            said = json.loads(_text(store, key))
            artifact = f"{found[1]}/{PurePosixPath(said['file']).name}"
            measured, value = said.get("metric"), said.get("metric_value")
            record = CheckpointRecord(
                checkpoint_id=new_id("checkpoint"),
                job_id=job_id,
                attempt=int(found[2]),
                step=int(said["step"]),
                loss=said["loss"],
                size_bytes=int(said["size_bytes"]),
                sha256=str(said["sha256"]),
                artifact=artifact,
                created_at=0,
                best_score=value if measured == config.best_metric else None,
                metrics={measured: value} if measured and value is not None else {},
            )
        except (ValueError, KeyError, TypeError, ArtifactNotFoundError):
            continue  # not a manifest of a checkpoint
        if store.holds(artifact, record.size_bytes):
            yield record


def _number(key: str) -> int:
    """Return the attempt that a key in its folder belongs to."""
    found = re.search(r"/attempts/(\d+)-", key)
    return int(found[1]) if found else 0


def _text(store: ArtifactStore, key: str) -> str:
    return b"".join(store.open_range(key)).decode("utf-8", "replace")
