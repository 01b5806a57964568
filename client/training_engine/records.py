"""What the SDK returns: plain frozen dataclasses, the same over every transport.

Transports hand over plain dicts with the contract's field names; `read` turns one into a record.
Times are aware datetimes in UTC, statuses lower-case strings, absent values None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from training_engine.errors import FieldProblem

Plain = dict[str, Any]
R = TypeVar("R")
T = TypeVar("T")


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """True where no worker will touch the job unless it is resumed."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)


def _problems(value: Any) -> tuple[FieldProblem, ...]:
    return tuple(
        FieldProblem(item.get("field", ""), item.get("message", ""))
        if isinstance(item, Mapping)
        else FieldProblem("", str(item))
        for item in value
    )


def read(kind: type[R], plain: Mapping[str, Any]) -> R:
    """Return a record from a plain dict; null means absent, keys newer than this SDK are ignored.

    Raises:
        TypeError: A field that the record cannot do without is missing.
    """
    values = {}
    for spec in dataclasses.fields(kind):  # type: ignore[arg-type]
        value = plain.get(spec.name)
        if value is not None and spec.init:
            is_time = spec.type == "datetime | None"
            convert: Callable[[Any], Any] | None = _time if is_time else spec.metadata.get("read")
            values[spec.name] = convert(value) if convert else value
    return kind(**values)


_LEFT_OUT = {"left_out": True}
"""Metadata of a field that some answers do not have at all: None is no value of it there."""


def to_plain(value: Any) -> Any:
    """Return a record as the plain JSON data that REST answers with.

    Keys are snake_case, times RFC 3339 in UTC, absent values null.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            spec.name: to_plain(getattr(value, spec.name))
            for spec in dataclasses.fields(value)
            if not spec.name.startswith("_") and not _left_out(spec, value)
        }
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _left_out(spec: dataclasses.Field[Any], record: Any) -> bool:
    return spec.metadata.get("left_out", False) and getattr(record, spec.name) is None


def _time_text(time: datetime) -> str:
    """RFC 3339 in UTC, with as many digits of a second as protobuf's JSON: none, 3 or 6."""
    digits = "seconds" if time.microsecond == 0 else "microseconds"
    if time.microsecond and time.microsecond % 1000 == 0:
        digits = "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Execution:
    """How a job is run; None leaves a choice to the service.

    Attributes:
        priority: `high`, `default` or `low`.
        processes: Trainer processes on each node, >= 1.
        nodes: Nodes, >= 1.
        device: `auto`, `cpu` or `cuda`.
        max_retries: Consecutive attempts without a new checkpoint before the job fails, >= 0.
        stop_timeout_seconds: Seconds a stop may take before the trainer is killed, > 0.
        stall_timeout_seconds: Seconds without a step before an attempt is queued anew, > 0.
    """

    priority: str | None = None
    processes: int | None = None
    nodes: int | None = None
    device: str | None = None
    max_retries: int | None = None
    stop_timeout_seconds: float | None = None
    stall_timeout_seconds: float | None = None


def _execution(value: Any) -> Execution:
    return read(Execution, value)


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job as the service last told it.

    Attributes:
        job_id: Its id.
        name: The name it was given; its id where none was.
        status: Where it stands.
        current_step: The last executed optimizer step; 0 before the first.
        max_steps: Steps of the whole run.
        progress: `current_step / max_steps`, in [0, 1].
        attempt: Counts from 1.
        worker_id: The worker that holds or last held it; None before the first claim.
        resumed_from_step: Step of the checkpoint that the attempt continued, None for a fresh one.
        created_at: When its user started it.
        started_at: When its first attempt was claimed.
        completed_at: When it ended.
        updated_at: When its record last changed.
        error: Why it failed; None where it has not.
        eta_seconds: Estimated seconds to its end, evaluations and saves included; None unless it
            runs and has measured its speed.
        running_seconds: Seconds that workers have held it, all attempts together; waiting and
            stops do not count.
        config: The resolved configuration; None in lists and events.
        config_id: The stored configuration that it was started from, or None.
        dataset_path: The training data.
        val_dataset_path: The validation data, or None.
        execution: How it is run.
        warnings: What was questionable about its configuration.
        exactness_notes: Why a resumed run is no longer bitwise equal to an undisturbed one.
        consecutive_failures: Attempts lost in a row without a new checkpoint.
        error_reason: Stable name of the error in lower case, e.g. `non_finite_loss`, or None.
        log_tail: The trainer's last lines where `error` has any; None in lists.
        message: What a person should know about the state, or None.
        phase: What its trainer does: `starting`, `training`, `validating` or `saving`; None where
            none runs.
        phase_done: Batches of the current validation that are done, None in other phases.
        phase_total: Batches of the current validation, None in other phases.
    """

    job_id: str
    name: str = ""
    status: JobStatus = field(default=JobStatus.QUEUED, metadata={"read": JobStatus})
    current_step: int = 0
    max_steps: int = 0
    progress: float = 0.0
    attempt: int = 1
    worker_id: str | None = None
    resumed_from_step: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime | None = None
    error: str | None = None
    eta_seconds: float | None = None
    running_seconds: float = 0.0
    config: Plain | None = field(default=None, repr=False, metadata=_LEFT_OUT)
    config_id: str | None = None
    dataset_path: str | None = None
    val_dataset_path: str | None = None
    execution: Execution = field(
        default_factory=Execution, repr=False, metadata={"read": _execution}
    )
    warnings: tuple[FieldProblem, ...] = field(default=(), metadata={"read": _problems})
    exactness_notes: tuple[str, ...] = field(default=(), metadata={"read": tuple})
    consecutive_failures: int = 0
    error_reason: str | None = field(default=None, metadata={"read": str.lower})
    log_tail: str | None = None
    message: str | None = None
    phase: str | None = None
    phase_done: int | None = None
    phase_total: int | None = None

    @property
    def is_terminal(self) -> bool:
        """True where no worker will touch the job unless it is resumed."""
        return self.status.is_terminal

    def to_dict(self) -> Plain:
        """Return plain JSON data with the names of the REST interface."""
        return dict(to_plain(self))


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """What was measured at one logged step; None where it was not measured there.

    Attributes:
        step: The optimizer step, from 1.
        loss: Mean cross-entropy over the step's tokens, nats.
        perplexity: `exp(loss)`.
        lr: Learning rate of the step.
        grad_norm: Norm of the gradient before clipping.
        tokens_per_second: Tokens a second that the model read, without padding.
        steps_per_second: Optimizer steps a second.
        tokens_seen: Tokens since step 0 that counted in the loss.
        val_loss: Mean cross-entropy over the validation set, nats.
        val_perplexity: `exp(val_loss)`.
        gpu_memory_allocated_gb: Peak GPU memory held by tensors since the last logged step,
            GiB.
        mfu: Model FLOPs utilisation, in [0, 1].
        attempt: The attempt that measured it; None where several steps stand together (the
            latest of each metric, a downsampled history).
        created_at: When it was logged; None where several steps stand together.
        custom: The user's own metrics that a callback of the trainer added to the step, by name;
            None for a value that is NaN or infinite.
    """

    step: int
    loss: float | None = None
    perplexity: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    steps_per_second: float | None = None
    tokens_seen: int | None = None
    val_loss: float | None = None
    val_perplexity: float | None = None
    gpu_memory_allocated_gb: float | None = None
    mfu: float | None = None
    attempt: int | None = None
    created_at: datetime | None = None
    custom: Mapping[str, float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a job trains, over its latest logging interval; None where that was not measured."""

    step: int = 0
    steps_per_second: float | None = None
    tokens_per_second: float | None = None
    tokens_seen: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A registered checkpoint: the whole state of a run at one step.

    Attributes:
        checkpoint_id: Its id.
        job_id: The job that wrote it.
        step: The optimizer step after which it was taken.
        loss: Training loss at that step, nats; None where none was measured.
        val_loss: Validation loss at that step, nats; None where none was measured.
        size_bytes: Bytes of the file.
        sha256: SHA-256 of the file, lower-case hex.
        created_at: When it was registered.
        is_best: True for the one with the best `best_metric` so far.
        attempt: The attempt that wrote it.
    """

    checkpoint_id: str
    job_id: str = ""
    step: int = 0
    loss: float | None = None
    val_loss: float | None = None
    size_bytes: int = 0
    sha256: str = ""
    created_at: datetime | None = None
    is_best: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a trainer printed.

    Attributes:
        sequence: Counts up within an attempt.
        attempt: The attempt that printed it.
        stream: `stdout` or `stderr`.
        text: The line without its newline.
        created_at: When it was read.
    """

    sequence: int = 0
    attempt: int = 1
    stream: str = "stdout"
    text: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rewind:
    """History was cut: what came after `to_step` is no longer part of the job."""

    to_step: int
    attempt: int = 1
    reason: str = ""


class EventKind(StrEnum):
    """What a `JobEvent` tells."""

    STATE = "state"
    METRICS = "metrics"
    CHECKPOINT = "checkpoint"
    LOG = "log"
    REWOUND = "rewound"


EventData = JobRecord | MetricPoint | Checkpoint | LogLine | Rewind

EVENT_RECORDS: dict[str, type[Any]] = {
    EventKind.STATE: JobRecord,
    EventKind.METRICS: MetricPoint,
    EventKind.CHECKPOINT: Checkpoint,
    EventKind.LOG: LogLine,
    EventKind.REWOUND: Rewind,
}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job.

    Attributes:
        kind: What `data` is.
        data: The record; match on its class.
        cursor: Pass it as `after` to continue behind this event.
    """

    kind: EventKind
    data: EventData
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """A stored configuration, every field resolved.

    Attributes:
        config_id: Its id.
        name: The name it was given.
        config: The configuration itself.
        created_at: When it was stored.
        warnings: Questionable values; told once, when it is created, and None from then on.
    """

    config_id: str
    name: str = ""
    config: Plain = field(default_factory=dict)
    created_at: datetime | None = None
    warnings: tuple[FieldProblem, ...] | None = field(
        default=None, metadata={"read": _problems, **_LEFT_OUT}
    )


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """A rough account of the memory that training takes, in bytes."""

    parameters_bytes: int = 0
    gradients_bytes: int = 0
    optimizer_bytes: int = 0
    activations_bytes: int = 0
    total_bytes: int = 0


def _memory(value: Any) -> MemoryEstimate:
    return read(MemoryEstimate, value)


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """What the service says about a configuration.

    Attributes:
        valid: True where `errors` is empty.
        errors: Every problem.
        warnings: Questionable values that would be accepted.
        num_parameters: Parameters of the model, None where the model is invalid.
        memory_estimate: Memory of training, None where the configuration is invalid.
    """

    valid: bool = False
    errors: tuple[FieldProblem, ...] = field(default=(), metadata={"read": _problems})
    warnings: tuple[FieldProblem, ...] = field(default=(), metadata={"read": _problems})
    num_parameters: int | None = None
    memory_estimate: MemoryEstimate | None = field(default=None, metadata={"read": _memory})


@dataclass(frozen=True, slots=True)
class Dataset:
    """An uploaded dataset; `path` names it wherever a dataset path is asked for.

    Attributes:
        dataset_id: Its id.
        name: The file name it was given; its ending says what it holds.
        size_bytes: Bytes of the file.
        sha256: SHA-256 of the file, lower-case hex.
        created_at: When its upload was complete.
    """

    dataset_id: str
    name: str = ""
    size_bytes: int = 0
    sha256: str = ""
    created_at: datetime | None = None

    @property
    def path(self) -> str:
        """`dataset://ID`, to be passed as `dataset_path`."""
        return f"dataset://{self.dataset_id}"


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that trains.

    Attributes:
        worker_id: Its id.
        state: `idle`, `busy` or `draining`.
        device: `cpu` or `cuda`, with the device's name where known.
        hostname: The machine it runs on.
        pid: Its process.
        job_id: The job it trains; None while idle.
        attempt: The attempt it trains; None while idle.
        last_heartbeat: When it was last heard of.
        started_at: When it started.
    """

    worker_id: str
    state: str | None = None
    device: str = ""
    hostname: str = ""
    pid: int = 0
    job_id: str | None = None
    attempt: int | None = None
    last_heartbeat: datetime | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The rows.
        next_page_token: Asks for the next page; empty on the last.
    """

    items: tuple[T, ...]
    next_page_token: str = ""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one job of a bulk call.

    Attributes:
        job_id: The job.
        error: Why it was left as it was, None where the call succeeded.
    """

    job_id: str
    error: Exception | None = None
