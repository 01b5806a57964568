"""Jobs, their logs and their events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.schemas import examples
from gateway.schemas.base import (
    INT32_MAX,
    INT64_MAX,
    Answer,
    Body,
    FieldProblem,
    PageQuery,
    PageToken,
    Query,
    RequestId,
    Step,
    with_example,
)
from gateway.schemas.configs import ConfigDocument, TrainingConfig

Status = Literal["queued", "running", "stopping", "stopped", "succeeded", "failed"]
Phase = Literal["starting", "training", "validating", "saving"]
Count = Annotated[int, Field(ge=1, le=INT32_MAX)]


class ExecutionBody(Body):
    """How to run a job. Absent fields take the default named with each."""

    priority: Literal["high", "default", "low"] | None = Field(
        None, description="Which queue it waits in. Default `default`."
    )
    processes: Count | None = Field(None, description="Trainer processes on a node. Default 1.")
    nodes: Count | None = Field(None, description="Nodes. Default 1.")
    device: str | None = Field(None, description="auto (default), cpu or cuda.")
    max_retries: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = Field(
        None, description="Consecutive attempts without a new checkpoint before failing. Default 3."
    )
    stop_timeout_seconds: float | None = Field(
        None, description="Seconds a stop may take before the trainer is killed. Default 300."
    )
    stall_timeout_seconds: float | None = Field(
        None, description="Seconds without a step before an attempt is replaced. Default 600."
    )


class Execution(Answer):
    """How a job is run."""

    model_config = with_example(examples.EXECUTION)

    priority: Literal["high", "default", "low"] | None = Field(
        description="Which queue it waits in."
    )
    processes: int | None = Field(description="Trainer processes on a node.")
    nodes: int | None = Field(description="Nodes.")
    device: str | None = Field(description="Where it trains, as in a configuration.")
    max_retries: int | None = Field(
        description="Consecutive attempts without a new checkpoint before it fails."
    )
    stop_timeout_seconds: float | None = Field(
        description="Seconds a stop may take before the trainer is killed."
    )
    stall_timeout_seconds: float | None = Field(
        description="Seconds without a step before an attempt is replaced."
    )


class StartJobBody(Body):
    """A job to start: a configuration or the id of a stored one, and its data."""

    model_config = with_example(
        {"config": examples.CONFIG, "dataset_path": "/data/shakespeare.txt", "name": "first-run"},
        extra="forbid",
        strict=True,
    )

    config: ConfigDocument | None = Field(
        None, description="The configuration, an object or its text; or else `config_id`."
    )
    config_id: str | None = Field(None, description="A stored configuration instead of `config`.")
    dataset_path: str | None = Field(
        None,
        description="Training data, wins over the configuration's: a path under an allowed root, "
        "or `dataset://ID`.",
    )
    val_dataset_path: str | None = Field(None, description="Validation data.")
    name: str | None = Field(None, description="A name to find it by, up to 200 characters.")
    execution: ExecutionBody | None = Field(
        None, description="How to run it; null for the defaults."
    )
    request_id: RequestId = ""

    @model_validator(mode="after")
    def _one_source(self) -> StartJobBody:
        if (self.config is None) == (self.config_id is None):
            raise ValueError("give exactly one of `config` and `config_id`")
        return self


class ResumeJobBody(Body):
    """Where and how far to continue; empty for the newest checkpoint."""

    model_config = with_example({"max_steps": 4000}, extra="forbid", strict=True)

    checkpoint_id: str | None = Field(
        None, description="Continue from this one; later ones and their history are cut."
    )
    max_steps: Annotated[int, Field(ge=1, le=INT64_MAX)] | None = Field(
        None, description="Train to this step instead."
    )
    from_start: bool = Field(
        False,
        description="Begin at step 0 instead, whatever was saved: history and checkpoints are cut. "
        "Not with `checkpoint_id`.",
    )
    request_id: RequestId = ""


class JobQuery(PageQuery):
    """Which jobs to list."""

    status: Status | None = Field(None, description="Only jobs in this state.")
    name: str = Field(
        "",
        description="Only jobs that were given exactly this name. With `status` as well, a page "
        "may hold fewer rows than asked for and still have a next one.",
    )
    job_id_prefix: str = Field("", description="Only jobs whose id begins with this.")


class LogQuery(Query):
    """Which lines to list."""

    page_size: int = Field(0, ge=0, le=10_000, description="Lines on the page; 0 for 1000.")
    page_token: str = Field("", description="`next_page_token` of the page before.")


class StreamQuery(Query):
    """Where to begin."""

    after: str = Field(
        "", description="The same as Last-Event-ID, for a first connection; the header wins."
    )
    after_step: Step | None = Field(
        None,
        description="Leave out `metrics` events up to this step, until a rewind brings them again: "
        "for a page that has read the history up to it. A cursor wins: it remembers the step.",
    )


class JobStatus(Answer):
    """Where a job stands."""

    model_config = with_example(examples.JOB_STATUS)

    job_id: str = Field(description="Its id.")
    name: str = Field(description="Its id where no name was given.")
    status: Status | None = Field(description="Its state.")
    current_step: int = Field(description="The last executed optimizer step.")
    max_steps: int = Field(description="The step that it ends at.")
    progress: float = Field(description="current_step / max_steps.")
    attempt: int = Field(description="Counts from 1.")
    worker_id: str | None = Field(description="The worker that holds it, or held it last.")
    resumed_from_step: int | None = Field(
        description="The step that the current attempt continued from; null for a fresh start."
    )
    created_at: str | None = Field(description="When it was started, RFC 3339, UTC.")
    started_at: str | None = Field(description="When its first attempt was claimed.")
    completed_at: str | None = Field(description="When it ended.")
    error: str | None = Field(description="Why it failed.")
    eta_seconds: float | None = Field(
        description="Estimated seconds to its end, evaluations and saves included; null unless it "
        "runs and has measured its speed."
    )
    running_seconds: float = Field(
        description="Seconds that workers have held it, all attempts together; waiting and stops "
        "do not count."
    )
    phase: Phase | None = Field(description="What its trainer does; null where none runs.")
    phase_done: int | None = Field(
        description="Batches of the current validation that are done; null in other phases."
    )
    phase_total: int | None = Field(description="Batches of the current validation.")
    message: str | None = Field(description="What a person should know about the state.")


class JobSummary(JobStatus):
    """A job without its configuration."""

    model_config = with_example(examples.JOB_SUMMARY)

    updated_at: str | None = Field(description="When its record last changed.")
    config_id: str | None = Field(description="The stored configuration it was started from.")
    dataset_path: str | None = Field(
        description="The training data; null where the configuration's counts."
    )
    val_dataset_path: str | None = Field(
        description="The validation data; null where none was named."
    )
    execution: Execution | None = Field(description="How it is run.")
    warnings: list[FieldProblem] = Field(description="Questionable values of its configuration.")
    exactness_notes: list[str] = Field(
        description="Why a resumed run is no longer bitwise equal to an undisturbed one."
    )
    consecutive_failures: int = Field(
        description="Consecutive attempts lost without a new checkpoint."
    )
    error_reason: str | None = Field(description="Stable code of the error.")
    log_tail: str | None = Field(
        description="The trainer's last lines, where it ended by an error; null in lists."
    )


class Job(JobSummary):
    """The whole record."""

    model_config = with_example({**examples.JOB_SUMMARY, "config": examples.CONFIG})

    config: TrainingConfig | None = Field(description="The configuration, every field resolved.")


class JobPage(Answer):
    """Jobs, newest first."""

    model_config = with_example({"jobs": [examples.JOB_SUMMARY], "next_page_token": None})

    jobs: list[JobSummary] = Field(description="The rows.")
    next_page_token: PageToken


class StoppedJob(Answer):
    """A job that was asked to stop."""

    model_config = with_example({"job_id": examples.JOB_ID, "status": "stopping"})

    job_id: str = Field(description="Its id.")
    status: Status | None = Field(description="`stopping`, or `stopped` where nothing ran.")


class ResumedJob(StoppedJob):
    """A job that was queued anew."""

    model_config = with_example(
        {
            "job_id": examples.JOB_ID,
            "status": "queued",
            "attempt": 2,
            "resumed_from_step": 400,
        }
    )

    attempt: int = Field(description="The attempt that was queued.")
    resumed_from_step: int | None = Field(description="The step it will continue from.")


class LogLine(Answer):
    """One line that a trainer printed."""

    model_config = with_example(examples.LOG_LINE)

    sequence: int = Field(description="Counts up within an attempt.")
    attempt: int = Field(description="The attempt that printed it.")
    stream: str = Field(description="stdout or stderr.")
    text: str = Field(description="The line, without its end.")
    created_at: str | None = Field(description="When it was read, RFC 3339, UTC.")


class LogPage(Answer):
    """Lines, oldest first."""

    model_config = with_example({"lines": [examples.LOG_LINE], "next_page_token": None})

    lines: list[LogLine] = Field(description="The rows.")
    next_page_token: PageToken


class Rewind(Answer):
    """History was cut: forget points and checkpoints past `to_step`."""

    model_config = with_example(
        {
            "to_step": 400,
            "attempt": 2,
            "reason": "attempt 1 lost its worker; attempt 2 continues from step 400",
        }
    )

    to_step: int = Field(
        description="The last step that still stands; 0 where the run starts over."
    )
    attempt: int = Field(description="The attempt that continues from there.")
    reason: str = Field(description="Why.")
