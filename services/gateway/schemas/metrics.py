"""What a job measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.schemas import examples
from gateway.schemas.base import Answer, PageToken, Query, Step, with_example


class MetricPoint(Answer):
    """What was measured at one step; null where it was not measured there."""

    model_config = with_example(examples.METRIC_POINT)

    step: int = Field(description="The optimizer step, from 1.")
    loss: float | None = Field(description="Mean cross-entropy of the step, nats.")
    perplexity: float | None = Field(description="exp(loss).")
    lr: float | None = Field(description="Learning rate of the step.")
    grad_norm: float | None = Field(description="Before clipping.")
    tokens_per_second: float | None = Field(description="Training tokens a second.")
    steps_per_second: float | None = Field(description="Optimizer steps a second.")
    tokens_seen: int | None = Field(description="Training tokens since step 0.")
    val_loss: float | None = Field(description="Mean cross-entropy over the validation set, nats.")
    val_perplexity: float | None = Field(description="exp(val_loss).")
    gpu_memory_allocated_gb: float | None = Field(
        description="Peak GPU memory held by tensors since the last logged step, GiB."
    )
    mfu: float | None = Field(description="Model FLOPs utilisation, in [0, 1].")
    attempt: int | None = Field(
        description="The attempt that measured it; null where values of several steps stand "
        "together, as in the latest of each metric and in a downsampled history."
    )
    created_at: str | None = Field(
        description="When it was logged, RFC 3339, UTC; null where values of several steps stand "
        "together."
    )
    custom: dict[str, float | None] = Field(
        description="The user's own metrics that a callback of the trainer added to the step, by "
        "name; null for a value that is NaN or infinite."
    )


class Metrics(MetricPoint):
    """The latest value of each metric."""

    model_config = with_example(examples.LATEST_METRICS)

    job_id: str = Field(description="The job.")


class HistoryQuery(Query):
    """Which steps to list."""

    page_size: int = Field(0, ge=0, le=10_000, description="Points on the page; 0 for 1000.")
    page_token: str = Field("", description="`next_page_token` of the page before.")
    after_step: Step | None = Field(None, description="Only steps greater than this.")
    from_step: Step | None = Field(None, description="Only steps from this on.")
    to_step: Step | None = Field(None, description="Only steps up to this.")
    max_points: Annotated[int, Field(ge=2, le=10_000)] | None = Field(
        None,
        description="Downsample the whole range to at most so many points, keeping extremes; "
        "left out, every point comes, by pages.",
    )


class History(Answer):
    """Logged steps, ascending, each once."""

    model_config = with_example(
        {
            "job_id": examples.JOB_ID,
            "points": [examples.METRIC_POINT],
            "next_page_token": None,
        }
    )

    job_id: str = Field(description="The job.")
    points: list[MetricPoint] = Field(description="The logged steps.")
    next_page_token: PageToken


class Throughput(Answer):
    """How fast a job trains, over its latest logging interval."""

    model_config = with_example(
        {
            "job_id": examples.JOB_ID,
            "step": 420,
            "steps_per_second": 17.1,
            "tokens_per_second": 13_100.0,
            "tokens_seen": 322_560,
        }
    )

    job_id: str = Field(description="The job.")
    step: int = Field(description="The latest logged step.")
    steps_per_second: float | None = Field(description="Optimizer steps a second.")
    tokens_per_second: float | None = Field(description="Training tokens a second.")
    tokens_seen: int = Field(description="Training tokens since step 0.")
