"""What a run measures and prints, as attempts write it and as readers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

MAX_LOG_LINE_BYTES = 8192
"""A longer log line is cut at this many bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """The metrics of one logged step.

    The steps of an attempt's points ascend; a point that does not is taken for a repetition of a
    delivered one.
    """

    step: int
    values: Mapping[str, float]
    time_ms: int
    """Wall-clock of the worker."""
    samples: tuple[str, ...] = ()
    """What the model made of each of `sample_prompts` at this step; empty where none were due."""


@dataclass(frozen=True, slots=True)
class SampledStep:
    """What the model made of the prompts at one step of the visible history."""

    step: int
    attempt: int
    created_at: int
    """Milliseconds since the epoch, by the worker's clock."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a trainer's output; `seq` counts the lines of the attempt from 0."""

    seq: int
    text: str
    time_ms: int
    source: str = "stdout"


@dataclass(frozen=True, slots=True)
class SystemSample:
    """What the processes of a trainer used at one moment."""

    attempt: int
    created_at: int
    """Milliseconds since the epoch, by the worker's clock."""
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StoredLogLine:
    """A log line as read back, with the attempt that wrote it."""

    attempt: int
    seq: int
    text: str
    time_ms: int
    source: str


@dataclass(frozen=True, slots=True)
class LatestMetrics:
    """Latest value of each metric; `steps` says at which step each was logged."""

    job_id: str
    step: int
    values: Mapping[str, float]
    steps: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One logged step of the visible history."""

    step: int
    time_ms: int
    attempt: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of points, ascending, each logged step once."""

    points: tuple[HistoryPoint, ...]
    next_page_token: str
    first_raw_step: int | None
    """First step that Redis still holds; earlier points come from the archive."""


class Extent(NamedTuple):
    """A metric within a bucket."""

    min: float
    max: float
    last: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Summary of consecutive points."""

    first_step: int
    last_step: int
    count: int
    time_ms: int
    """Time of the last point."""
    metrics: Mapping[str, Extent]
