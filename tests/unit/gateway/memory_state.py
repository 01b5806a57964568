"""What the control plane in memory knows, and tests arrange and look at."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import grpc
from google.protobuf import timestamp_pb2

from app.training.config import FieldProblem
from control_plane.rpc_errors import RpcError
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    job_pb2,
    metrics_pb2,
)

BEGAN = timestamp_pb2.Timestamp(seconds=1_900_000_000, nanos=250_000_000)
BEGAN_TEXT = "2030-03-17T17:46:40.250Z"
ENDED = {job_pb2.JOB_STATUS_STOPPED, job_pb2.JOB_STATUS_SUCCEEDED, job_pb2.JOB_STATUS_FAILED}


def not_found(kind: str, value: str) -> RpcError:
    return RpcError(
        grpc.StatusCode.NOT_FOUND, f"{kind.upper()}_NOT_FOUND", f"no {kind} has the id {value!r}"
    )


class State:
    """What the services share, and what tests look at."""

    def __init__(self) -> None:
        self.configs: dict[str, config_pb2.Config] = {}
        self.jobs: dict[str, job_pb2.Job] = {}
        self.events: dict[str, list[job_pb2.WatchJobResponse]] = {}
        self.changed = asyncio.Condition()
        self.points: dict[str, list[metrics_pb2.MetricPoint]] = {}
        self.checkpoints: dict[str, checkpoint_pb2.Checkpoint] = {}
        self.files: dict[str, bytes] = {}
        self.datasets: dict[str, dataset_pb2.Dataset] = {}
        self.requests: list[Any] = []
        self.credentials: list[str] = []
        self.open_watches = 0
        self.open_generations = 0
        self.open_downloads = 0
        self.fail_next: RpcError | None = None
        self.break_downloads_after = float("inf")
        self.max_dataset_bytes = 8 << 20
        self.uploads_broken_off = 0
        self.token_delay = 0.0
        self.breaks_after: int | None = None
        """Tokens after which sampling fails."""
        self.context = 10**6
        """Tokens of a prompt that the model sees."""
        self.problem = ""
        """Why it is not ready."""

    def job(self, job_id: str) -> job_pb2.Job:
        if job_id not in self.jobs:
            raise not_found("job", job_id)
        return self.jobs[job_id]

    def checkpoint(self, checkpoint_id: str) -> checkpoint_pb2.Checkpoint:
        if checkpoint_id not in self.checkpoints:
            raise not_found("checkpoint", checkpoint_id)
        return self.checkpoints[checkpoint_id]

    async def happen(self, job_id: str, **event: Any) -> None:
        events = self.events[job_id]
        events.append(job_pb2.WatchJobResponse(cursor=f"c-{len(events) + 1}", **event))
        async with self.changed:
            self.changed.notify_all()

    async def log_step(self, job_id: str, step: int, **values: Any) -> None:
        point = metrics_pb2.MetricPoint(step=step, attempt=1, created_at=BEGAN, **values)
        self.points[job_id].append(point)
        await self.happen(job_id, metrics=point)

    async def become(self, job_id: str, status: int, **fields: Any) -> None:
        job = self.jobs[job_id]
        job.status = status
        for name, value in fields.items():
            setattr(job, name, value)
        await self.happen(job_id, state=job)

    def add_checkpoint(
        self, checkpoint_id: str, job_id: str, step: int, data: bytes
    ) -> checkpoint_pb2.Checkpoint:
        self.files[checkpoint_id] = data
        self.checkpoints[checkpoint_id] = checkpoint_pb2.Checkpoint(
            checkpoint_id=checkpoint_id,
            job_id=job_id,
            step=step,
            loss=1.5,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            created_at=BEGAN,
            is_best=True,
            attempt=1,
        )
        return self.checkpoints[checkpoint_id]

    def served(self, request: Any) -> None:
        self.requests.append(request)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error


def read_config(document: str) -> config_pb2.TrainingConfig:
    """Refuses what the real one would: unknown keys and a wrong value, all at once."""
    values = json.loads(document)
    known = config_pb2.TrainingConfig.DESCRIPTOR.fields_by_name
    problems = [
        FieldProblem(key, f"{key} is not a field; see the reference")
        for key in values
        if key not in known
    ]
    values = {key: value for key, value in values.items() if value is not None}
    if (values.get("learning_rate") or 1) <= 0:
        problems.append(FieldProblem("learning_rate", "learning_rate is -1; it must be > 0"))
    if problems:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_CONFIG",
            f"the configuration has {len(problems)} problems",
            problems,
        )
    return config_pb2.TrainingConfig(**values)
