"""What a job measured."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas.base import Answer, PageToken, Query, Step


class MetricPoint(Answer):
    """What was measured at one step; null where it was not measured there."""

    step: int
    loss: float | None = Field(description="Mean cross-entropy of the step, nats.")
    perplexity: float | None
    lr: float | None
    grad_norm: float | None = Field(description="Before clipping.")
    tokens_per_second: float | None
    steps_per_second: float | None
    tokens_seen: int | None = Field(description="Training tokens since step 0.")
    val_loss: float | None
    val_perplexity: float | None
    gpu_memory_allocated_gb: float | None
    mfu: float | None = Field(description="Model FLOPs utilisation, in [0, 1].")
    attempt: int | None = Field(
        description="The attempt that measured it; null where values of several steps stand "
        "together, as in the latest of each metric and in a downsampled history."
    )
    created_at: str | None = Field(
        description="When it was logged, RFC 3339, UTC; null where values of several steps stand "
        "together."
    )


class Metrics(MetricPoint):
    """The latest value of each metric."""

    job_id: str


class HistoryQuery(Query):
    """Which steps to list."""

    page_size: int = Field(0, ge=0, le=10_000, description="Points on the page; 0 for 1000.")
    page_token: str = Field("", description="`next_page_token` of the page before.")
    after_step: Step | None = Field(None, description="Only steps greater than this.")
    from_step: Step | None = Field(None, description="Only steps from this on.")
    to_step: Step | None = Field(None, description="Only steps up to this.")
    max_points: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Downsample to at most so many points, keeping extremes; 0 for every point.",
    )


class History(Answer):
    """Logged steps, ascending, each once."""

    job_id: str
    points: list[MetricPoint]
    next_page_token: PageToken


class Throughput(Answer):
    """How fast a job trains, over its latest logging interval."""

    job_id: str
    step: int
    steps_per_second: float | None
    tokens_per_second: float | None
    tokens_seen: int
