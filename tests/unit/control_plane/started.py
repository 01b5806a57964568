"""Starts tiny jobs through a control plane, claims them as a worker would, finds their files."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from control_plane.server import ControlPlane
from job_store.attempts import AttemptStore
from job_store.records import FencingToken
from training_engine.v1 import job_pb2

TINY: dict[str, Any] = {
    "model_config": {"vocab_size": 256, "hidden_size": 32, "num_layers": 1, "num_heads": 2},
    "max_steps": 20,
    "warmup_steps": 2,
    "logging_steps": 1,
}


def tiny_request(**fields: Any) -> job_pb2.StartJobRequest:
    """A request that starts a job of 20 steps, `fields` added or replaced."""
    fields.setdefault("dataset_path", "corpus.txt")
    if not {"config", "config_document", "config_id"} & set(fields):
        fields["config_document"] = json.dumps(TINY)
    return job_pb2.StartJobRequest(**fields)


async def start(stubs: Any, execution: job_pb2.Execution | None = None, **config: Any) -> str:
    """The id of a queued job."""
    request = tiny_request(config_document=json.dumps(TINY | config), execution=execution)
    response = await stubs.jobs.StartJob(request)
    return str(response.job.job_id)


async def running_job(
    stubs: Any, attempts: AttemptStore, execution: job_pb2.Execution | None = None, **config: Any
) -> tuple[str, FencingToken]:
    """A job whose first attempt was claimed and has begun at step 0."""
    job_id = await start(stubs, execution, **config)
    claimed = attempts.claim(job_id, 1, "worker-1")
    assert claimed is not None
    attempts.confirm_start(claimed.token, 0)
    return job_id, claimed.token


def stored_files(plane: ControlPlane) -> list[Path]:
    """All files of the artifact store, but the one that holds its id, and the journal."""
    root = Path(plane.state.settings.artifact_root)
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".store-id"]
    return [path for path in files if not path.is_relative_to(root / "journal")]


async def until_quiet(plane: ControlPlane) -> None:
    """Waits until nothing but calls writes into the artifact store any more."""
    mark = Path(plane.state.settings.artifact_root) / "journal/complete-2.txt"
    deadline = time.monotonic() + 30
    while not mark.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
