"""Converts stored records to messages; no other module knows both.

Fields of the same name are copied. Each function below says only what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from app.training.config import FieldProblem
from control_plane.config_codec import config_to_message
from job_store.alerts import Alert, alert_text
from job_store.errors import RecordVersionError
from job_store.history_records import (
    Bucket,
    HistoryPoint,
    LatestMetrics,
    SampledStep,
    StoredLogLine,
    SystemSample,
)
from job_store.records import (
    CheckpointRecord,
    ConfigRecord,
    DatasetRecord,
    ForkOptimizer,
    JobError,
    JobRecord,
    JobStatus,
    Priority,
    WorkerRecord,
)
from training_engine.messages import enum_words, is_time
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    job_pb2,
    metrics_pb2,
    worker_pb2,
)

M = TypeVar("M", bound=Message)

STATUS_FROM_MESSAGE = {
    number: JobStatus(word) for number, word in enum_words(job_pb2.JobStatus.DESCRIPTOR).items()
}
PRIORITY_FROM_MESSAGE = {
    number: Priority(word) for number, word in enum_words(job_pb2.JobPriority.DESCRIPTOR).items()
}
FORK_OPTIMIZER_FROM_MESSAGE = {
    number: ForkOptimizer(word)
    for number, word in enum_words(job_pb2.ForkOptimizer.DESCRIPTOR).items()
}
METRIC_FIELDS: dict[str, type[int] | type[float]] = {
    field.name: int if field.cpp_type == field.CPPTYPE_INT64 else float
    for field in metrics_pb2.MetricPoint.DESCRIPTOR.fields
    if field.name not in ("step", "attempt", "created_at", "custom")
}
"""The metrics that have a field of their own, with the type of its values."""


def timestamp(milliseconds: int | None) -> Timestamp | None:
    """Return server milliseconds as a timestamp; None stays None, which leaves a field absent."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def problem_text(problem: FieldProblem) -> str:
    """Return a warning as it is stored in a job's record; `_stored_warning` reads it."""
    return f"{problem.field}: {problem.message}"


def problem_messages(problems: Iterable[FieldProblem]) -> list[config_pb2.FieldProblem]:
    """Return problems or warnings of a configuration as messages."""
    return [config_pb2.FieldProblem(field=p.field, message=p.message) for p in problems]


def _stored_warning(text: str) -> config_pb2.FieldProblem:
    field, separator, message = text.partition(": ")
    if not separator:
        return config_pb2.FieldProblem(message=text)
    return config_pb2.FieldProblem(field=field, message=message)


def _copy(kind: type[M], record: Any, **values: Any) -> M:
    """Return a message with the record's fields of the same names; `values` win over them.

    None leaves a field absent, and so does empty text where a field can be absent.
    """
    fields = {}
    for name, may_be_absent, convert in _copied_fields(kind.DESCRIPTOR):
        value = values[name] if name in values else getattr(record, name, None)
        if value is not None and not (value == "" and may_be_absent):
            fields[name] = convert(value) if convert else value
    return kind(**fields)


@cache
def _copied_fields(message: Any) -> list[tuple[str, bool, Callable[[Any], Any] | None]]:
    """Return each field's name, whether it can be absent, and the converter of a record's value."""
    return [(field.name, field.has_presence, _conversion(field)) for field in message.fields]


def _conversion(field: Any) -> Callable[[Any], Any] | None:
    if is_time(field):
        return timestamp
    if field.enum_type is not None:
        return partial(_enum_number, _numbers(field.enum_type))
    if field.message_type is not None and not field.is_repeated:
        return partial(_part, GetMessageClass(field.message_type))
    return None


def _numbers(enum: Any) -> dict[str, int]:
    """Return the numbers of an enum by the names that the store's enum has for them."""
    return {word.upper(): number for number, word in enum_words(enum).items()}


def _enum_number(numbers: Mapping[str, int], value: Any) -> int:
    number: int = numbers[value.name] if isinstance(value, Enum) else value
    return number


def _part(kind: type[Message], value: Any) -> Message:
    return value if isinstance(value, Message) else _copy(kind, value)


def job_message(record: JobRecord) -> job_pb2.Job:
    """Return a job; its configuration too where the record holds it."""
    error = record.error
    job = _copy(
        job_pb2.Job,
        record,
        name=record.name or record.job_id,
        error=error.message if error else None,
        error_reason=error.reason if error else None,
        log_tail=error.log_tail if error and record.config_document else None,
        message=_message_beside(error, record.message),
        eta_seconds=record.eta_seconds if record.status is JobStatus.RUNNING else None,
        running_seconds=record.running_ms / 1000,
        warnings=_warnings(record),
        exactness_notes=record.notes,
        notes=record.user_notes,
        sweep_child=record.sweep_child or None,
        **_phase(record),
    )
    if record.config_document:
        _add_config(job, record.config_document)
    return job


def _warnings(record: JobRecord) -> list[config_pb2.FieldProblem]:
    """Return what was questionable at the start, and about the data, each once."""
    texts = dict.fromkeys([*record.warnings, *record.data_warnings])
    return [_stored_warning(text) for text in texts]


def _phase(record: JobRecord) -> dict[str, Any]:
    """Return the fields of the trainer's phase; the phase is absent where no trainer runs."""
    if record.status not in (JobStatus.RUNNING, JobStatus.STOPPING):
        return {"phase": None}
    done, total, per_second = record.phase_progress
    if not total:
        return {"phase_done": done} if done else {}
    counted = {"phase_done": done, "phase_total": total}
    return {**counted, "phase_per_second": per_second} if per_second else counted


def _add_config(job: job_pb2.Job, document: str) -> None:
    """Add the configuration, or a warning in its place where it cannot be read.

    A job without a readable configuration has to be listed too, to be stopped and deleted.
    """
    try:
        job.config.CopyFrom(config_to_message(document))
    except ValueError as error:
        message = f"the stored configuration cannot be shown ({error}); start the job afresh"
        job.warnings.append(config_pb2.FieldProblem(field="config", message=message))


def _message_beside(error: JobError | None, message: str) -> str | None:
    """Return the message where it says more than the error; some failures repeat it."""
    return None if not message or (error and error.message == message) else message


def config_message(record: ConfigRecord) -> config_pb2.Config:
    """Return a stored configuration.

    Raises:
        RecordVersionError: No message can hold the stored configuration.
    """
    try:
        config = config_to_message(record.document)
    except ValueError as error:
        damage = f"a damaged record ({error})"
        raise RecordVersionError("config", record.config_id, damage, "a valid one") from error
    return _copy(config_pb2.Config, record, config=config)


def checkpoint_message(record: CheckpointRecord) -> checkpoint_pb2.Checkpoint:
    """Return a registered checkpoint."""
    return _copy(checkpoint_pb2.Checkpoint, record, val_loss=record.metrics.get("val_loss"))


def dataset_message(record: DatasetRecord) -> dataset_pb2.Dataset:
    """Return an uploaded dataset."""
    return _copy(dataset_pb2.Dataset, record)


def worker_message(record: WorkerRecord) -> worker_pb2.Worker:
    """Return a worker as it last reported."""
    return _copy(worker_pb2.Worker, record, attempt=record.attempt or None)


def log_line_message(line: StoredLogLine) -> job_pb2.LogLine:
    """Return a line that a trainer printed."""
    return _copy(
        job_pb2.LogLine,
        line,
        sequence=line.seq,
        stream=line.source,
        created_at=line.time_ms,
    )


def point_message(
    step: int, attempt: int, time_ms: int | None, values: Mapping[str, float]
) -> metrics_pb2.MetricPoint:
    """Return one logged step; metrics without a field of their own are the user's."""
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
    """Return a point of the history."""
    return point_message(point.step, point.attempt, point.time_ms, point.values)


def latest_message(latest: LatestMetrics) -> metrics_pb2.MetricPoint:
    """Return the latest value of each metric."""
    return point_message(latest.step, 0, None, latest.values)


def sample_message(sample: SystemSample) -> metrics_pb2.SystemSample:
    """Return what the processes of a trainer used at one moment."""
    return _copy(metrics_pb2.SystemSample, sample)


def sampled_step_message(step: SampledStep, prompts: Sequence[str]) -> metrics_pb2.SampledStep:
    """Return what the model made of each prompt at a step."""
    pairs = zip(prompts, step.texts, strict=False)
    samples = [metrics_pb2.SampledText(prompt=prompt, text=text) for prompt, text in pairs]
    return _copy(metrics_pb2.SampledStep, step, samples=samples)


def alert_rule(alert: Alert, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the rule of a job's configuration that fired; nothing where it is not there."""
    rules = config.get("alerts", [])
    rule: Mapping[str, Any] = rules[alert.rule] if alert.rule < len(rules) else {}
    return rule


def alert_message(alert: Alert, config: Mapping[str, Any], *, is_sent: bool) -> job_pb2.Alert:
    """Return an alert that fired, in words; `is_sent`: the job's alerts have a receiver."""
    value = alert.value if alert.value is not None and math.isfinite(alert.value) else None
    delivery = alert.delivery if is_sent else None
    text = alert_text(alert, alert_rule(alert, config))
    return _copy(job_pb2.Alert, alert, text=text, value=value, delivery=delivery)


def bucket_messages(bucket: Bucket) -> list[metrics_pb2.MetricPoint]:
    """Return a bucket as one point, or as two that hold each metric's minimum and maximum.

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
