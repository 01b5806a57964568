# Generated from the protos by client/generate_records.py; run: make protos
"""What the SDK returns: plain frozen dataclasses, the same over every transport.

Transports hand over plain dicts with the contract's field names; `read` turns one into a record.
Times are aware datetimes in UTC, statuses lower-case strings, absent values None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from training_engine._record_base import (
    LEFT_OUT,
    BulkResult,
    DatasetMethods,
    JobMethods,
    JobStatusMethods,
    Page,
    Plain,
    read,
    read_all,
    read_as,
    read_problems,
    to_plain,
)
from training_engine.errors import FieldProblem

__all__ = [
    "EVENT_RECORDS",
    "Alert",
    "Alerts",
    "BatchGetJobsResponse",
    "BulkResult",
    "Checkpoint",
    "Config",
    "ConfigReport",
    "Dataset",
    "Evaluation",
    "EventData",
    "EventKind",
    "Execution",
    "InspectedFile",
    "InspectedSource",
    "InspectedWindow",
    "Inspection",
    "JobEvent",
    "JobRecord",
    "JobStatus",
    "LengthCount",
    "LogLine",
    "MemoryEstimate",
    "MetricPoint",
    "Page",
    "Plain",
    "Rewind",
    "SampledStep",
    "SampledText",
    "Series",
    "SeriesSet",
    "Sweep",
    "SweepChild",
    "SweepImportance",
    "SystemMetrics",
    "SystemSample",
    "Throughput",
    "WindowSegment",
    "Worker",
    "read",
    "to_plain",
]


class JobStatus(JobStatusMethods, StrEnum):
    """The state of a job.

    Attributes:
        QUEUED: Waits for a worker.
        RUNNING: A worker trains it.
        STOPPING: Asked to stop; saves its last checkpoint.
        STOPPED: Stopped on request; can be resumed.
        SUCCEEDED: Reached `max_steps`.
        FAILED: Ended by an error, or by too many lost attempts without progress.
    """

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


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
class Config:
    """A stored configuration, every field resolved.

    Attributes:
        config_id: Its id.
        name: The name it was given.
        config: The configuration itself, defaults included.
        created_at: When it was stored.
        warnings: Questionable values that were accepted; sent once, when it is created.
    """

    config_id: str
    name: str = ""
    config: Plain = field(default_factory=dict)
    created_at: datetime | None = None
    warnings: tuple[FieldProblem, ...] | None = field(
        default=None, metadata={"read": read_problems, **LEFT_OUT}
    )


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """A rough account of the memory that training takes, in bytes.

    Attributes:
        parameters_bytes: Parameters.
        gradients_bytes: Gradients.
        optimizer_bytes: Optimizer state.
        activations_bytes: Activations of one micro-batch.
        total_bytes: The sum.
    """

    parameters_bytes: int = 0
    gradients_bytes: int = 0
    optimizer_bytes: int = 0
    activations_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """Whether a configuration would be accepted.

    Attributes:
        valid: True where `errors` is empty.
        errors: Every problem that a start would be refused for. Data that is not named is only a
            warning here.
        warnings: What a start would accept, and what it would put among the job's warnings.
        num_parameters: Parameters of the model; None where the model is invalid, or where an
            unknown key may be part of it.
        memory_estimate: Memory that training takes; None where the configuration is invalid.
    """

    valid: bool = False
    errors: tuple[FieldProblem, ...] = field(default=(), metadata={"read": read_problems})
    warnings: tuple[FieldProblem, ...] = field(default=(), metadata={"read": read_problems})
    num_parameters: int | None = None
    memory_estimate: MemoryEstimate | None = field(
        default=None, metadata={"read": read_as(MemoryEstimate)}
    )


@dataclass(frozen=True, slots=True)
class Dataset(DatasetMethods):
    """An uploaded dataset; `dataset://ID` names it wherever a dataset path is asked for.

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


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """A file of a dataset and what was read of it.

    Attributes:
        path: Its path where the service reads it.
        use: `train`, `validation` or `skipped`.
        size_bytes: Bytes of the file.
        form: How it is read, e.g. "json lines" or `parquet`; None for a skipped one.
        reason: Why it is skipped, or what is wrong with it.
        documents: Documents that were read.
        characters: Characters of text, or ids, that were read.
        tokens: Tokens of these.
        complete: Whether all of it was read; else the counts are those of its beginning.
        read_share: Share of the file that was read, in [0, 1]; None where that is unknown.
    """

    path: str = ""
    use: str = ""
    size_bytes: int = 0
    form: str | None = None
    reason: str | None = None
    documents: int = 0
    characters: int = 0
    tokens: int = 0
    complete: bool = False
    read_share: float | None = None


@dataclass(frozen=True, slots=True)
class LengthCount:
    """Documents of similar length.

    Attributes:
        tokens_from: They have as many tokens as this or more, and fewer than twice as many.
        documents: How many they are.
    """

    tokens_from: int = 0
    documents: int = 0


@dataclass(frozen=True, slots=True)
class WindowSegment:
    """Text of a window.

    Attributes:
        text: The text.
        trained: Whether its tokens are trained on.
    """

    text: str = ""
    trained: bool = False


@dataclass(frozen=True, slots=True)
class InspectedWindow:
    """One of the first windows of training data, decoded.

    Attributes:
        tokens: Its tokens, at most sequence_length + 1.
        segments: Its text, in order.
    """

    tokens: int = 0
    segments: tuple[WindowSegment, ...] = field(
        default=(), metadata={"read": read_all(WindowSegment)}
    )


@dataclass(frozen=True, slots=True)
class InspectedSource:
    """How often a source of a mixture is gone through.

    Attributes:
        path: Its path, as the configuration has it.
        share: Share of the samples that are of it, in [0, 1].
        estimated_tokens: Tokens of all of its training data; None where that cannot be estimated.
        epochs: How often max_steps goes through it; None where that cannot be estimated.
    """

    path: str = ""
    share: float = 0.0
    estimated_tokens: int | None = None
    epochs: float | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look into a dataset found. Counts are of what was read of the training data.

    Attributes:
        files: The first files, those for validation and those that are skipped included.
        more_files: Files that are not listed.
        documents: Documents, empty ones included.
        empty_documents: Documents without text or ids; they are not trained on.
        duplicate_documents: Documents that are equal to an earlier one.
        characters: Characters of text, or ids.
        tokens: Tokens, those between documents included.
        complete: Whether all of the training data was read.
        estimated_tokens: Tokens of all training data; None where that cannot be estimated.
        lengths: How long documents are, from short to long.
        tokenizer: The configuration's tokenizer.
        vocabulary_used: Different ids that occur.
        unknown_share: Share of the tokens that represent text that the tokenizer does not know, in
            [0, 1].
        rare_share: Share of the tokens whose id occurs once, in [0, 1].
        epochs: How often max_steps goes through the data; None where that cannot be estimated, and
            for a mixture.
        windows: The first windows.
        problems: What keeps a job from its first step.
        warnings: What is allowed and probably not meant.
        sources: The sources of a mixture, in their order; empty for one dataset.
    """

    files: tuple[InspectedFile, ...] = field(default=(), metadata={"read": read_all(InspectedFile)})
    more_files: int = 0
    documents: int = 0
    empty_documents: int = 0
    duplicate_documents: int = 0
    characters: int = 0
    tokens: int = 0
    complete: bool = False
    estimated_tokens: int | None = None
    lengths: tuple[LengthCount, ...] = field(default=(), metadata={"read": read_all(LengthCount)})
    tokenizer: str = ""
    vocabulary_used: int = 0
    unknown_share: float = 0.0
    rare_share: float = 0.0
    epochs: float | None = None
    windows: tuple[InspectedWindow, ...] = field(
        default=(), metadata={"read": read_all(InspectedWindow)}
    )
    problems: tuple[FieldProblem, ...] = field(default=(), metadata={"read": read_problems})
    warnings: tuple[FieldProblem, ...] = field(default=(), metadata={"read": read_problems})
    sources: tuple[InspectedSource, ...] = field(
        default=(), metadata={"read": read_all(InspectedSource)}
    )


@dataclass(frozen=True, slots=True)
class Execution:
    """How a job is run. None fields take the default named with each.

    Attributes:
        priority: The queue it waits in. Default: default. One of `high`, `default`, `low`.
        processes: Trainer processes on each node, >= 1. Default 1.
        nodes: Workers that train it together, each with so many processes, 1 to 64. The job begins
            once so many have nothing else to do. Default 1.
        device: Where it trains, named as in a configuration. Default: the configuration's.
        max_retries: Consecutive attempts without a new checkpoint before the job fails, >= 0.
            Default 3.
        stop_timeout_seconds: Seconds a stop may take before the trainer is killed, > 0. Default
            300.
        stall_timeout_seconds: Seconds without a step or a batch of a validation before an attempt
            is replaced by another, > 0. Default 600.
    """

    priority: str | None = None
    processes: int | None = None
    nodes: int | None = None
    device: str | None = None
    max_retries: int | None = None
    stop_timeout_seconds: float | None = None
    stall_timeout_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobRecord(JobMethods):
    """A job.

    Attributes:
        job_id: Its id.
        name: The name it was given; its id where none was. Unique: where another job had the name,
            a number was added to it, and a warning says so.
        status: Its state.
        current_step: The last executed optimizer step; 0 before the first.
        max_steps: Steps of the whole run.
        progress: `current_step / max_steps`, in [0, 1].
        attempt: Counts from 1.
        worker_id: The worker that holds it, or held it last; None before the first claim.
        resumed_from_step: The step of the checkpoint that the current attempt continued; None for a
            fresh start.
        created_at: When it was started by its user.
        started_at: When its first attempt was claimed.
        completed_at: When it ended; None while it has not.
        updated_at: When its record last changed.
        error: Why it failed; None where it has not.
        eta_seconds: Estimated seconds to its end, evaluations and saves included; None where
            unknown.
        running_seconds: Seconds that workers have held it, all attempts together: not while it
            waited, stopped or ended. An attempt whose worker was lost counts until the worker's
            last report.
        config: The resolved configuration. Left out of lists.
        config_id: The stored configuration that it was started from; None where there was none.
        dataset_path: The training data.
        val_dataset_path: The validation data; None where it is split off the training data.
        execution: How it is run.
        warnings: What was questionable about its configuration and its data, such as files that are
            skipped. What is said of the data is the worker's once it has read them.
        exactness_notes: Why a resumed run is not bitwise equal to an undisturbed one; empty while
            it is equal.
        consecutive_failures: Consecutive attempts lost without a new checkpoint.
        error_reason: Stable code of the error, e.g. `DATASET_NOT_FOUND` (over REST and in the SDK
            `dataset_not_found`); None where `error` is.
        log_tail: The trainer's last lines, where `error` has any. Left out of lists.
        message: What a person should know about the state: how the last attempt was lost, or where
            a killed stop left the job. None where there is nothing to know.
        phase: What its trainer does, where one runs. One of `starting`, `training`, `validating`,
            `saving`, `reading`, `tokenizing`, `training_tokenizer`.
        phase_done: How far the phase is: batches of a validation, or bytes of the data's files, as
            they are on the disk, while they are read or tokenized, or seconds of the training of a
            tokenizer. None in other phases.
        phase_total: How many there are of what `phase_done` counts. None where that is unknown.
        data_summary: What it trains on: windows, and how often max_steps goes through them. None
            until a worker has loaded the data.
        model_summary: What the model is: parameters by part, FLOPs a token, memory. None for jobs
            of earlier releases.
        phase_per_second: How much of what `phase_done` counts was done a second, in about the last
            ten seconds. None where it is unknown.
        tags: Words to find it by, in the order in which they were added.
        notes: What its user wrote about it; empty where nothing was.
        parent_job_id: The job that it was forked from, which may have been deleted since. None
            where it is no fork.
        parent_checkpoint_id: The checkpoint of its parent that it began with.
        fork_step: The step of that checkpoint, where parent and fork part. With a kept optimizer
            the fork's own steps come after it; with a fresh one they begin at 1.
        fork_optimizer: What it has of its parent's optimizer; None where it is no fork. One of
            `kept`, `fresh`.
        sweep_id: The sweep that it is a child of; None where it is none.
        sweep_child: Its number in the sweep, from 1; None where it is in none.
        stop_at_step: The step at which it stops by itself, before max_steps: at the end of a rung
            of its sweep. None where it goes on to the end.
        environment: What its newest attempt runs on, in one line: Python, torch, device, threads,
            system. None before a worker has prepared the run.
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
    config: Plain | None = field(default=None, repr=False, metadata=LEFT_OUT)
    config_id: str | None = None
    dataset_path: str | None = None
    val_dataset_path: str | None = None
    execution: Execution = field(
        default_factory=Execution, repr=False, metadata={"read": read_as(Execution)}
    )
    warnings: tuple[FieldProblem, ...] = field(default=(), metadata={"read": read_problems})
    exactness_notes: tuple[str, ...] = field(default=(), metadata={"read": tuple})
    consecutive_failures: int = 0
    error_reason: str | None = None
    log_tail: str | None = None
    message: str | None = None
    phase: str | None = None
    phase_done: int | None = None
    phase_total: int | None = None
    data_summary: str | None = None
    model_summary: str | None = None
    phase_per_second: float | None = None
    tags: tuple[str, ...] = field(default=(), metadata={"read": tuple})
    notes: str = ""
    parent_job_id: str | None = None
    parent_checkpoint_id: str | None = None
    fork_step: int | None = None
    fork_optimizer: str | None = None
    sweep_id: str | None = None
    sweep_child: int | None = None
    stop_at_step: int | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class BatchGetJobsResponse:
    """Several jobs.

    Attributes:
        jobs: In the order asked for; one that is named twice comes once.
    """

    jobs: tuple[JobRecord, ...] = field(default=(), metadata={"read": read_all(JobRecord)})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a trainer printed.

    Attributes:
        sequence: Counts up within an attempt.
        attempt: The attempt that printed it.
        stream: `stdout` or `stderr`.
        text: The line without its newline; bytes that are no UTF-8 are replaced.
        created_at: When it was read.
    """

    sequence: int = 0
    attempt: int = 1
    stream: str = "stdout"
    text: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule of a job's alerts that fired.

    Attributes:
        rule: Number of the rule in the configuration, from 0.
        text: What happened, in one sentence.
        step: The job's step then.
        value: The metric's value; None where it is not finite, and for rules about the run.
        attempt: The attempt that it is about.
        created_at: When it fired, by the service's clock.
        alert_id: Its id, which its receiver gets as webhook-id.
        delivery: What came of sending it; None where it is not sent. One of `pending`, `delivered`,
            `failed`.
        delivery_tries: How often it was sent.
        delivery_problem: Why the last request failed; None where it did not.
    """

    rule: int = 0
    text: str = ""
    step: int = 0
    value: float | None = None
    attempt: int = 0
    created_at: datetime | None = None
    alert_id: str = ""
    delivery: str | None = None
    delivery_tries: int = 0
    delivery_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerts of a job that have fired.

    Attributes:
        alerts: Oldest first; the newest 100.
    """

    alerts: tuple[Alert, ...] = field(default=(), metadata={"read": read_all(Alert)})


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """What was measured at one logged step. A metric is absent where it was not measured.

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
        gpu_memory_allocated_gb: Peak GPU memory held by tensors since the last logged step, GiB.
        mfu: Model FLOPs utilisation, in [0, 1]; None for devices of unknown peak.
        attempt: The attempt that measured it; None where a point has values of several steps, as in
            the latest of each metric and in a downsampled history.
        created_at: When it was logged; None where a point has values of several steps.
        custom: The user's own metrics that a callback of the trainer added to the step, by name: 1
            to 64 ASCII letters, digits or any of _./-, the first a letter or _. A value may be NaN
            or infinite; REST and the SDK give null for it.
        val_bits_per_byte: The validation loss in bits for each byte of text, which compares
            tokenizers; None where the tokenizer of ids is not known.
        ema_val_loss: The validation loss of the averaged weights, nats; None without `ema_decay`.
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
    val_bits_per_byte: float | None = None
    ema_val_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one job. Values that are not finite are left out.

    Attributes:
        job_id: The job.
        metric: The metric.
        x: Where the points are on the axis, ascending.
        y: Their values.
        from_start: Whether the curve begins here: what earlier answers had of it is to be
            forgotten. False where these points follow those of `after`.
        count: How many values the whole history has; what follows is about all of these, as they
            were logged.
        last: The newest value; None where there is none.
        min: The least value; None where there is none.
        min_step: The first step with the least value.
        max: The greatest value; None where there is none.
        max_step: The first step with the greatest value.
        best: The best value: the least, or the greatest of a speed (a name that ends with
            _per_second), of mfu, and of a metric of the user whose name has one of accuracy, score,
            reward, precision, recall, bleu or rouge in it, or acc, auc or f1 as a word; None where
            there is none, and of lr and tokens_seen, of which no value is better than another.
        best_step: The first step with the best value; 0 where there is none.
    """

    job_id: str = ""
    metric: str = ""
    x: tuple[float, ...] = field(default=(), metadata={"read": tuple})
    y: tuple[float, ...] = field(default=(), metadata={"read": tuple})
    from_start: bool = False
    count: int = 0
    last: float | None = None
    min: float | None = None
    min_step: int = 0
    max: float | None = None
    max_step: int = 0
    best: float | None = None
    best_step: int = 0


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """Curves of several jobs.

    Attributes:
        series: A curve for each job and metric, in the order asked for; with `after`, only those
            with news.
        metric_names: Every metric that the jobs have logged.
        cursor: Passed as `after`, asks for what comes later.
    """

    series: tuple[Series, ...] = field(default=(), metadata={"read": read_all(Series)})
    metric_names: tuple[str, ...] = field(default=(), metadata={"read": tuple})
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class SystemSample:
    """What the processes of a trainer used at one moment.

    Attributes:
        created_at: When, by the worker's clock.
        attempt: The attempt.
        values: By name; what the machine does not tell is left out. `system/cpu_percent` (100 is
            one core), `system/memory_bytes` (resident), `system/disk_read_bytes_per_second` and
            `system/disk_written_bytes_per_second`; `system/network_received_bytes_per_second` and
            `system/network_sent_bytes_per_second` of the container or machine, without the
            loopback; `system/gpu_0_percent`, `system/gpu_0_memory_bytes` and
            `system/gpu_0_power_watts` of each GPU that they use. Speeds are means since the sample
            before.
    """

    created_at: datetime | None = None
    attempt: int = 1
    values: Mapping[str, float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """What a job's processes used.

    Attributes:
        samples: Oldest first, at most 720. Where there would be more, every second one is dropped,
            so that they cover the whole run and lie closest at its end.
    """

    samples: tuple[SystemSample, ...] = field(default=(), metadata={"read": read_all(SystemSample)})


@dataclass(frozen=True, slots=True)
class SampledText:
    """What the model made of a prompt.

    Attributes:
        prompt: The prompt.
        text: The continuation, without the prompt; at most 4,000 characters.
    """

    prompt: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class SampledStep:
    """What the model made of each prompt at one step.

    Attributes:
        step: The optimizer step, from 1.
        created_at: When, by the worker's clock.
        attempt: The attempt that sampled.
        samples: A text for each prompt, in the order of the configuration.
    """

    step: int = 0
    created_at: datetime | None = None
    attempt: int = 0
    samples: tuple[SampledText, ...] = field(default=(), metadata={"read": read_all(SampledText)})


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a job trains, over its latest logging interval.

    Attributes:
        step: The latest logged step.
        steps_per_second: Optimizer steps a second; None where it was not measured.
        tokens_per_second: Tokens a second; None where it was not measured.
        tokens_seen: Training tokens since step 0.
    """

    step: int = 0
    steps_per_second: float | None = None
    tokens_per_second: float | None = None
    tokens_seen: int = 0


@dataclass(frozen=True, slots=True)
class SweepChild:
    """One child of a sweep.

    Attributes:
        number: Counts from 1.
        values: What it has in place of the sweep's configuration: dotted names, and values as JSON
            text.
        job_id: Its job; None until it was started.
        status: The state of its job; None until it was started, or once it was deleted. One of
            `queued`, `running`, `stopping`, `stopped`, `succeeded`, `failed`.
        current_step: The last executed step of its job.
        rung: The last rung that it took part in, from 1.
        score: The metric where that rung ended; None until it was decided, or where there was none.
        rank: Its place among all children, 1 for the best; None until its last rung was decided.
    """

    number: int = 0
    values: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    job_id: str | None = None
    status: str | None = None
    current_step: int = 0
    rung: int = 0
    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class SweepImportance:
    """How much a parameter says about the score.

    Attributes:
        parameter: Dotted name of the parameter.
        value: Share of the variance of the children's ranks in the first rung that lies between
            groups of this parameter's values, adjusted for their number, in [0, 1] (epsilon squared
            on ranks). Numbers of more than five values are grouped with their neighbours, into
            thirds, and beyond 15 children into about as many groups as there are children in each.
            None where no group has two children.
    """

    parameter: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep.

    Attributes:
        sweep_id: Its id.
        name: The name it was given; its id where none was.
        status: Its state. One of `running`, `stopped`, `succeeded`, `deleting`.
        message: Why it was stopped, where no person asked for it, or why no child is the best. None
            otherwise.
        method: How its children were chosen: grid or random.
        metric: The validation metric that decides.
        goal: Whether small values of it are better, min, or large ones, max.
        parameters: Dotted names of the parameters.
        num_children: Number of children.
        max_parallel: Children that are trained at the same time at most.
        rung_steps: Steps at which rungs end before the last one, which ends with the run; empty
            without halving.
        rungs_decided: Rungs that are decided.
        best_child: The best child so far: of the newest decided rung. None before the first.
        best_job_id: The job of the best child. None once it was deleted, but for lists.
        created_at: When it was started.
        children: All children, by number. Left out of lists.
        importance: Of each parameter, once the first rung is decided. Left out of lists.
        document: The sweep as it was started, as JSON text. Left out of lists.
    """

    sweep_id: str = ""
    name: str = ""
    status: str | None = None
    message: str | None = None
    method: str = ""
    metric: str = ""
    goal: str = ""
    parameters: tuple[str, ...] = field(default=(), metadata={"read": tuple})
    num_children: int = 0
    max_parallel: int = 0
    rung_steps: tuple[int, ...] = field(default=(), metadata={"read": tuple})
    rungs_decided: int = 0
    best_child: int | None = None
    best_job_id: str | None = None
    created_at: datetime | None = None
    children: tuple[SweepChild, ...] = field(default=(), metadata={"read": read_all(SweepChild)})
    importance: tuple[SweepImportance, ...] = field(
        default=(), metadata={"read": read_all(SweepImportance)}
    )
    document: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that trains.

    Attributes:
        worker_id: Its id.
        state: What it does. One of `idle`, `busy`, `draining`.
        device: `cpu` or `cuda`, with the device's name where known.
        hostname: The machine it runs on.
        pid: Its process on that machine.
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
class Evaluation:
    """How well a model predicts data.

    Attributes:
        loss: Mean cross-entropy over the tokens, nats.
        perplexity: exp(loss).
        bits_per_byte: The loss in bits for each byte of text; None where the bytes of a token are
            not known.
        tokens: Tokens that were predicted.
        context: Tokens that a window shows the model at most.
        stride: Tokens from the beginning of a window to that of the next.
    """

    loss: float = 0.0
    perplexity: float = 0.0
    bits_per_byte: float | None = None
    tokens: int = 0
    context: int = 0
    stride: int = 0


@dataclass(frozen=True, slots=True)
class Rewind:
    """History was cut: points and checkpoints past to_step are no longer part of the job.

    Attributes:
        to_step: The last step that still counts; 0 where the run starts over.
        attempt: The attempt that continues from there.
        reason: Why.
    """

    to_step: int
    attempt: int = 1
    reason: str = ""


class EventKind(StrEnum):
    """What an event reports.

    Attributes:
        STATE: The job changed its state.
        METRICS: A step was logged.
        CHECKPOINT: A checkpoint was registered.
        LOG: The trainer printed a line.
        REWOUND: History was cut.
        ALERT: A rule of its alerts fired.
    """

    STATE = "state"
    METRICS = "metrics"
    CHECKPOINT = "checkpoint"
    LOG = "log"
    REWOUND = "rewound"
    ALERT = "alert"


EventData = JobRecord | MetricPoint | Checkpoint | LogLine | Rewind | Alert

EVENT_RECORDS: dict[str, type[Any]] = {
    EventKind.STATE: JobRecord,
    EventKind.METRICS: MetricPoint,
    EventKind.CHECKPOINT: Checkpoint,
    EventKind.LOG: LogLine,
    EventKind.REWOUND: Rewind,
    EventKind.ALERT: Alert,
}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job.

    Attributes:
        kind: What `data` is.
        data: The record; match on its class.
        cursor: Continues after this event when passed as `after`.
    """

    kind: EventKind
    data: EventData
    cursor: str = ""
