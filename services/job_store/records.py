"""The typed records of the job store. All are frozen; times are server milliseconds (Redis TIME).

How they are written to Redis and read back is in `codec.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

Milliseconds = int
"""A time, since the epoch."""

RECORD_VERSION = 1
"""Version of every stored record; a record of another version is refused."""

LAST_STEP = 1 << 53
"""Steps are below this: Redis' scripts count in doubles, which are exact up to here."""


class JobStatus(StrEnum):
    """States of a job, as stored and as shown by REST."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """True where the job stays as it is until it is resumed or deleted."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


class Priority(StrEnum):
    """The queue that a job waits in."""

    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class Phase(StrEnum):
    """What a running trainer does; the stall timeout is off while it saves."""

    STARTING = "starting"
    TRAINING = "training"
    VALIDATING = "evaluating"
    """Stored under the name that it had first."""
    SAVING = "saving"
    """The last save, which the attempt waits for."""
    READING = "reading"
    """The data, to check them or to make a tokenizer of them."""
    TOKENIZING = "tokenizing"
    TRAINING_TOKENIZER = "training_tokenizer"
    """On the text that was read; counted in seconds."""


class WorkerState(StrEnum):
    """What a worker does."""

    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    """The worker ends once its job is saved and handed back."""


class PhaseProgress(NamedTuple):
    """How far a phase is.

    It counts batches of a validation, bytes of data that is read or tokenized, or seconds of a
    tokenizer's training.
    """

    done: int = 0
    total: int = 0
    """0 where nothing is counted."""
    per_second: float = 0.0
    """0.0 where that is unknown."""


UNCOUNTED = PhaseProgress()


class ForkOptimizer(StrEnum):
    """What a fork has of its parent's optimizer."""

    KEPT = "kept"
    FRESH = "fresh"


class SweepStatus(StrEnum):
    """States of a sweep."""

    RUNNING = "running"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    DELETING = "deleting"
    """Its children are being deleted; its record goes last."""


class OutcomeKind(StrEnum):
    """How an attempt ended, as its worker reports it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A definite error (bad data, non-finite loss): FAILED at once, no retry."""
    STOPPED = "stopped"
    """The requested stop was carried out."""
    HANDED_BACK = "handed_back"
    """The worker shuts down: QUEUED, attempt + 1, never counted as a failure."""
    CRASHED = "crashed"
    """The trainer died: QUEUED, attempt + 1, or FAILED once the retries are spent."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Where and how a job runs."""

    priority: Priority = Priority.DEFAULT
    processes: int = 1
    """Trainer processes per node."""
    nodes: int = 1
    device: str = "auto"
    max_retries: int = 3
    """Consecutive attempts without a new checkpoint that are retried before FAILED."""
    stop_timeout_seconds: float = 300.0
    """Seconds from a stop request to the hard kill."""
    stall_timeout_seconds: float = 600.0
    """Seconds without a step after which the attempt is killed and requeued."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job FAILED, or why its last lost attempt ended."""

    reason: str
    """Stable code, from the protos' enum of reasons."""
    message: str
    log_tail: str = ""
    """Last lines of the trainer's output, where there were any."""


@dataclass(frozen=True, slots=True)
class Request:
    """The idempotency of one mutation: its id and a digest of what it asks for."""

    request_id: str
    body_hash: str

    @staticmethod
    def of(request_id: str | None, method: str, body: bytes) -> Request | None:
        """Request for this id, or None for an empty one. `method` keeps two calls apart."""
        if not request_id:
            return None
        digest = hashlib.sha256(method.encode() + b"\0" + body).hexdigest()
        return Request(request_id, digest)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `JobStore.create` stores; ids, times and the rest are added by the store."""

    config_document: str
    """The resolved configuration, as JSON text."""
    max_steps: int
    dataset_path: str
    name: str = ""
    val_dataset_path: str = ""
    tokenizer: str = ""
    config_id: str = ""
    execution: Execution = field(default_factory=Execution)
    warnings: tuple[str, ...] = ()
    data_warnings: tuple[str, ...] = ()
    """Warnings about the data, until an attempt has read them and replaces these by its own."""
    data_roots: tuple[str, ...] | None = None
    """Folders that the job may read from; None for all."""
    model_summary: str = ""
    """Parameters, FLOPs and memory of the model, in words."""
    tags: tuple[str, ...] = ()
    user_notes: str = ""
    alert_rules: str = ""
    """What is judged for alerts, see `alerts.encode_rules`; empty for nothing."""
    parent_job_id: str = ""
    """The job that it is forked from; empty where it is no fork."""
    parent_checkpoint_id: str = ""
    fork_step: int | None = None
    """Step of the parent's checkpoint."""
    fork_optimizer: ForkOptimizer | None = None
    sweep_id: str = ""
    """The sweep that it is a child of; empty where it is none."""
    sweep_child: int = 0
    """Its number in the sweep, from 1."""
    sweep_values: str = ""
    """What it has in place of the sweep's configuration, as JSON text: dotted names to values."""
    stop_at_step: int | None = None
    """The step at which it stops by itself, before `max_steps`; a resume sets another or none."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as stored. `config_document` is empty in lists (see `JobStore.list`)."""

    job_id: str
    name: str
    status: JobStatus
    current_step: int
    """Last executed step, 0 before the first."""
    max_steps: int
    attempt: int
    """Current attempt, counted from 1."""
    claim_id: str
    """Random id of the attempt's claim; empty until a worker has claimed it."""
    worker_id: str
    resumed_from_step: int | None
    """Step of the checkpoint that the current attempt began with; None for a fresh start."""
    resume_checkpoint_id: str
    created_at: Milliseconds
    updated_at: Milliseconds
    started_at: Milliseconds | None
    """Time of the first claim."""
    completed_at: Milliseconds | None
    """Time of the last terminal state; None while the job is not in one."""
    error: JobError | None
    message: str
    """What a person should know about the state, e.g. where a killed stop left the job."""
    config_document: str
    config_id: str
    dataset_path: str
    val_dataset_path: str
    tokenizer: str
    execution: Execution
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """Exactness notes: each says why the run is not bitwise reproducible."""
    consecutive_failures: int
    tokens_seen: int
    phase: Phase
    phase_progress: PhaseProgress
    eta_seconds: float | None
    """Seconds to the end as the trainer last estimated it; None while it has not."""
    best_checkpoint_id: str
    enqueued_at: Milliseconds | None
    """When the current attempt's message was handed to the queue; None if it was not yet."""
    stop_requested_at: Milliseconds | None
    stop_deadline: Milliseconds | None
    """When a STOPPING job will have been killed, by the server's clock: for people, no program
    decides by it."""
    running_ms: int = field(default=0, compare=False)
    """How long workers have held it, all attempts together, until it was read. An attempt whose
    worker was lost counts until the worker's last report."""
    model_summary: str = ""
    """Parameters, FLOPs and memory of the model, in words."""
    data_summary: str = ""
    """What the newest attempt trains on; empty until one has loaded it."""
    environment: str = ""
    """What the newest attempt runs on, in words; empty until one has prepared the run."""
    data_warnings: tuple[str, ...] = ()
    """Warnings about the data, of the newest attempt that has loaded it; before one has, of the
    start."""
    data_roots: tuple[str, ...] | None = None
    """Folders that it may read from, as they were at its start; None in records that are older
    than that."""
    tags: tuple[str, ...] = ()
    """Words that its user finds it by, in the order in which they were added."""
    user_notes: str = ""
    """What its user wrote about it."""
    parent_job_id: str = ""
    parent_checkpoint_id: str = ""
    fork_step: int | None = None
    fork_optimizer: ForkOptimizer | None = None
    sweep_id: str = ""
    sweep_child: int = 0
    sweep_values: str = ""
    stop_at_step: int | None = None
    """These are as in `NewJob`."""

    @property
    def progress(self) -> float:
        """Share of the steps that were executed, 0 to 1."""
        return min(1.0, self.current_step / self.max_steps) if self.max_steps > 0 else 0.0


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list has; the default is all of them."""

    status: JobStatus | None = None
    name: str = ""
    """Only jobs of exactly this name."""
    id_prefix: str = ""
    tags: tuple[str, ...] = ()
    """Only jobs that have all of these."""
    search: str = ""
    """Only jobs that have each word of this in their name, tags or notes, or, from six characters
    on, in their id; in upper or lower case."""


EVERY_JOB = JobFilter()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; an empty token says that it is the last."""

    items: tuple[T, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class ConfigRecord:
    """A named, stored configuration."""

    config_id: str
    name: str
    document: str
    """The configuration as JSON text."""
    created_at: Milliseconds


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """An uploaded dataset; its bytes are in the artifact store under `artifact`."""

    dataset_id: str
    name: str
    size_bytes: int
    sha256: str
    artifact: str
    created_at: Milliseconds


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A search over values of a configuration; its children are jobs."""

    sweep_id: str
    name: str
    document: str
    """The plan as JSON text: what is searched, how, and the values of each child."""
    status: SweepStatus
    message: str
    """Why it was stopped, where no person asked for it."""
    rungs: str
    """What was decided about each rung so far, as a JSON array."""
    created_at: Milliseconds


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A registered checkpoint; its bytes are in the artifact store under `artifact`."""

    checkpoint_id: str
    job_id: str
    attempt: int
    """The attempt that saved it; 0 for the one that a fork has of its parent."""
    step: int
    loss: float | None
    size_bytes: int
    sha256: str
    artifact: str
    """Name in the artifact store."""
    created_at: Milliseconds
    """Set by the server at registration; what the caller passes is ignored."""
    best_score: float | None = None
    """Value of `best_metric` at this step, such that lower is better; None is never best."""
    is_best: bool = False
    """Computed at reading: True for the lowest `best_score` of the job."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What was validated at this step, and the value that the best one is decided by."""


@dataclass(frozen=True, slots=True)
class CheckpointPage:
    """A page of checkpoints, ascending by step."""

    checkpoints: tuple[CheckpointRecord, ...]
    next_page_token: str
    unreadable: tuple[str, ...] = ()
    """Ids on this page that are registered, and whose records cannot be read."""


@dataclass(frozen=True, slots=True)
class FencingToken:
    """Proves that a worker has the current attempt; goes with every write."""

    job_id: str
    attempt: int
    claim_id: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A successful claim."""

    record: JobRecord
    token: FencingToken
    resume_from: CheckpointRecord | None
    """Newest registered checkpoint, to resume from; None starts at step 0."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The store's answer to each write of a worker."""

    stop_requested: bool
    delivered: int = 0
    """Entries of the batch now in the store, duplicates of an earlier delivery included."""
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, for `AttemptStore.finish`."""

    kind: OutcomeKind
    error: JobError | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt in the job's index, and which of its points readers see.

    Visible are the points with `start_step < step <= end_step`; the folder of its files is
    `jobs/{job_id}/attempts/{attempt}-{claim_id}/`.
    """

    attempt: int
    claim_id: str
    worker_id: str
    start_step: int
    end_step: int | None
    """Lowest start step of all later attempts; None for the newest."""
    claimed_at: int | None
    ended_at: int | None
    outcome: str
    last_step: int | None
    """Step of the last point in its stream; None if it has none."""
    last_log_seq: int | None
    points: int
    """Points in its stream now (older ones may have been trimmed)."""


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as it last reported."""

    worker_id: str
    state: WorkerState
    device: str
    hostname: str
    pid: int
    started_at: int
    """Wall-clock of the worker, milliseconds."""
    last_heartbeat: Milliseconds
    """Server time; set by the store."""
    job_id: str = ""
    attempt: int = 0
    only_job: str = ""
    """Id of the only job that it takes; empty where it takes any."""


@dataclass(frozen=True, slots=True)
class QueuedAttempt:
    """An attempt that waits for a worker."""

    job_id: str
    attempt: int
    priority: Priority
    device: str
    is_sent: bool
    """Whether its message was handed to the queue."""
    nodes: int = 1
    """Workers that train it together."""
