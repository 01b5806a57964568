"""Stored records as messages, field by field; the only place that knows both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from app.training.config import Problem
from control_plane.config_codec import config_to_message
from job_store.errors import RecordVersionError
from job_store.records import (
    Bucket,
    CheckpointRecord,
    ConfigRecord,
    DatasetRecord,
    Execution,
    HistoryPoint,
    JobError,
    JobRecord,
    JobStatus,
    LatestMetrics,
    Phase,
    Priority,
    StoredLogLine,
    WorkerRecord,
    WorkerState,
)
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    job_pb2,
    metrics_pb2,
    worker_pb2,
)

S = TypeVar("S", bound=StrEnum)


def _numbers(stored: type[S], enum: Any, prefix: str) -> dict[S, Any]:
    """The contract's number of each stored value: the two have the same names."""
    return {value: enum.Value(f"{prefix}_{value.name}") for value in stored}


STATUS_TO_MESSAGE = _numbers(JobStatus, job_pb2.JobStatus, "JOB_STATUS")
STATUS_FROM_MESSAGE = {number: status for status, number in STATUS_TO_MESSAGE.items()}
PRIORITY_TO_MESSAGE = _numbers(Priority, job_pb2.JobPriority, "JOB_PRIORITY")
PRIORITY_FROM_MESSAGE = {number: priority for priority, number in PRIORITY_TO_MESSAGE.items()}
PHASE_TO_MESSAGE = _numbers(Phase, job_pb2.JobPhase, "JOB_PHASE")
_WORKER_STATES = _numbers(WorkerState, worker_pb2.WorkerState, "WORKER_STATE")
METRIC_FIELDS: dict[str, type[int] | type[float]] = {
    field.name: int if field.cpp_type == field.CPPTYPE_INT64 else float
    for field in metrics_pb2.MetricPoint.DESCRIPTOR.fields
    if field.name not in ("step", "attempt", "created_at", "custom")
}
"""The metrics that have a field of their own, with the type of its values."""


def timestamp(milliseconds: int | None) -> Timestamp | None:
    """Server milliseconds as a timestamp; None stays None, which leaves a field absent."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def problem_text(problem: Problem) -> str:
    """A warning as it is stored in a job's record; `_stored_warning` reads it."""
    return f"{problem.field}: {problem.message}"


def problem_messages(problems: Iterable[Problem]) -> list[config_pb2.FieldProblem]:
    """Problems or warnings of a configuration."""
    return [config_pb2.FieldProblem(field=p.field, message=p.message) for p in problems]


def _stored_warning(text: str) -> config_pb2.FieldProblem:
    field, separator, message = text.partition(": ")
    if not separator:
        return config_pb2.FieldProblem(message=text)
    return config_pb2.FieldProblem(field=field, message=message)


def execution_message(execution: Execution) -> job_pb2.Execution:
    """How a job is run, every field present."""
    return job_pb2.Execution(
        priority=PRIORITY_TO_MESSAGE[execution.priority],
        processes=execution.processes,
        nodes=execution.nodes,
        device=execution.device,
        max_retries=execution.max_retries,
        stop_timeout_seconds=execution.stop_timeout_seconds,
        stall_timeout_seconds=execution.stall_timeout_seconds,
    )


def job_message(record: JobRecord) -> job_pb2.Job:
    """A job; its configuration too where the record holds it."""
    error = record.error
    job = job_pb2.Job(
        job_id=record.job_id,
        name=record.name or record.job_id,
        status=STATUS_TO_MESSAGE[record.status],
        current_step=record.current_step,
        max_steps=record.max_steps,
        progress=record.progress,
        attempt=record.attempt,
        worker_id=record.worker_id or None,
        resumed_from_step=record.resumed_from_step,
        created_at=timestamp(record.created_at),
        started_at=timestamp(record.started_at),
        completed_at=timestamp(record.completed_at),
        updated_at=timestamp(record.updated_at),
        error=error.message if error else None,
        eta_seconds=record.eta_seconds if record.status is JobStatus.RUNNING else None,
        running_seconds=record.running_ms / 1000,
        config_id=record.config_id or None,
        dataset_path=record.dataset_path or None,
        val_dataset_path=record.val_dataset_path or None,
        execution=execution_message(record.execution),
        warnings=[_stored_warning(text) for text in record.warnings],
        exactness_notes=record.notes,
        consecutive_failures=record.consecutive_failures,
        error_reason=error.reason if error else None,
        message=_message_beside(error, record.message),
    )
    if record.status in (JobStatus.RUNNING, JobStatus.STOPPING):
        job.phase = PHASE_TO_MESSAGE[record.phase]
        if record.phase_progress.total:
            job.phase_done, job.phase_total = record.phase_progress
    if record.config_document:
        _add_config(job, record.config_document)
        if error and error.log_tail:
            job.log_tail = error.log_tail
    return job


def _add_config(job: job_pb2.Job, document: str) -> None:
    """Its configuration; a warning in its place where that cannot be read, for such a job has to
    be seen to be stopped and deleted."""
    try:
        job.config.CopyFrom(config_to_message(document))
    except ValueError as error:
        message = f"the stored configuration cannot be shown ({error}); start the job afresh"
        job.warnings.append(config_pb2.FieldProblem(field="config", message=message))


def _message_beside(error: JobError | None, message: str) -> str | None:
    """What a person should know besides the error; the message of some failures repeats it."""
    return None if not message or (error and error.message == message) else message


def config_message(record: ConfigRecord) -> config_pb2.Config:
    """A stored configuration. RecordVersionError for one that no message can hold."""
    try:
        config = config_to_message(record.document)
    except ValueError as error:
        found = f"a damaged record ({error})"
        raise RecordVersionError("config", record.config_id, found, "a valid one") from error
    return config_pb2.Config(
        config_id=record.config_id,
        name=record.name,
        config=config,
        created_at=timestamp(record.created_at),
    )


def checkpoint_message(record: CheckpointRecord) -> checkpoint_pb2.Checkpoint:
    """A registered checkpoint."""
    return checkpoint_pb2.Checkpoint(
        checkpoint_id=record.checkpoint_id,
        job_id=record.job_id,
        step=record.step,
        loss=record.loss,
        val_loss=record.metrics.get("val_loss"),
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        created_at=timestamp(record.created_at),
        is_best=record.is_best,
        attempt=record.attempt,
    )


def dataset_message(record: DatasetRecord) -> dataset_pb2.Dataset:
    """An uploaded dataset."""
    return dataset_pb2.Dataset(
        dataset_id=record.dataset_id,
        name=record.name,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        created_at=timestamp(record.created_at),
    )


def worker_message(record: WorkerRecord) -> worker_pb2.Worker:
    """A worker as it last reported."""
    return worker_pb2.Worker(
        worker_id=record.worker_id,
        state=_WORKER_STATES[record.state],
        device=record.device,
        hostname=record.hostname,
        pid=record.pid,
        job_id=record.job_id or None,
        attempt=record.attempt or None,
        last_heartbeat=timestamp(record.last_heartbeat),
        started_at=timestamp(record.started_at),
    )


def log_line_message(line: StoredLogLine) -> job_pb2.LogLine:
    """A line that a trainer printed."""
    return job_pb2.LogLine(
        sequence=line.seq,
        attempt=line.attempt,
        stream=line.source,
        text=line.text,
        created_at=timestamp(line.time_ms),
    )


def point_message(
    step: int, attempt: int, time_ms: int | None, values: Mapping[str, float]
) -> metrics_pb2.MetricPoint:
    """One logged step; metrics without a field of their own are the user's."""
    named: dict[str, Any] = {
        name: METRIC_FIELDS[name](value)
        for name, value in values.items()
        if name in METRIC_FIELDS and math.isfinite(value)
    }
    custom = {name: value for name, value in values.items() if name not in METRIC_FIELDS}
    return metrics_pb2.MetricPoint(
        step=step, attempt=attempt or None, created_at=timestamp(time_ms), custom=custom, **named
    )


def history_message(point: HistoryPoint) -> metrics_pb2.MetricPoint:
    """A point of the history."""
    return point_message(point.step, point.attempt, point.time_ms, point.values)


def latest_message(latest: LatestMetrics) -> metrics_pb2.MetricPoint:
    """Latest value of each metric."""
    return point_message(latest.step, 0, None, latest.values)


def bucket_messages(bucket: Bucket) -> list[metrics_pb2.MetricPoint]:
    """A bucket as one point, or as two that hold each metric's minimum and maximum.

    The extreme nearer to the bucket's last value comes second, so that a rising metric is drawn
    rising.
    """
    if bucket.first_step == bucket.last_step:
        last = {name: extent.last for name, extent in bucket.metrics.items()}
        return [point_message(bucket.last_step, 0, bucket.time_ms, last)]
    first, second = {}, {}
    for name, extent in bucket.metrics.items():
        falling = extent.last - extent.min <= extent.max - extent.last
        first[name] = extent.max if falling else extent.min
        second[name] = extent.min if falling else extent.max
    return [
        point_message(bucket.first_step, 0, None, first),
        point_message(bucket.last_step, 0, bucket.time_ms, second),
    ]
