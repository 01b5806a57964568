"""Answers GetSeries: checks what is asked for, and makes the curves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from control_plane.errors import invalid_argument
from control_plane.series.columns import ATTEMPT
from control_plane.series.curves import Curve, JobCurves
from control_plane.series.thinning import kept_places
from training_engine.messages import enum_words
from training_engine.v1 import metrics_pb2

MOST_JOBS = 50
MOST_POINTS = 10_000
"""Of one curve, as DEFAULT_POINTS."""
DEFAULT_POINTS = 1000
MOST_IN_ALL = 400_000
"""Points of all curves of an answer."""
_AXES = enum_words(metrics_pb2.SeriesAxis.DESCRIPTOR)
_STANDARD = frozenset(
    field.name
    for field in metrics_pb2.MetricPoint.DESCRIPTOR.fields
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_INT64) and field.name != "step"
)
"""Metrics that every job can log. A request may name them before any job has logged them."""

_WITHOUT_BEST = ("lr", "tokens_seen")
"""Metrics of which no value is better than another."""

_GREATER_IS_BETTER = re.compile(
    r"_per_second$|^mfu$|accuracy|score|reward|precision|recall|bleu|rouge"
    r"|(?<![a-z])(acc\d*|auc|f1)(?![a-z0-9])"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """How far an earlier answer went: attempt and step of its last row of a job."""

    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class SeriesQuestion:
    """A request, checked."""

    job_ids: Sequence[str]
    metrics: Sequence[str]
    axis: str
    max_points: int
    """Of a curve; 0 for DEFAULT_POINTS."""
    smoothing: float
    from_x: float
    to_x: float
    log_x: bool
    seen: Sequence[Seen | None]
    """For each job; None where everything is asked for."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """How far the points of a job are moved along the axis; 0 where it is not named."""


def read_question(request: metrics_pb2.GetSeriesRequest) -> SeriesQuestion:
    """Return what a request asks for.

    Raises:
        RpcError: A field breaks a rule.
    """
    job_ids = [*dict.fromkeys(request.job_ids)]
    if not 1 <= len(job_ids) <= MOST_JOBS:
        message = (
            f"`job_ids` has {len(job_ids)} jobs; it must have 1 to {MOST_JOBS}; leave some out"
        )
        raise invalid_argument("job_ids", message)
    first, last = _range(request)
    return SeriesQuestion(
        job_ids=job_ids,
        metrics=[*dict.fromkeys(request.metrics)],
        axis=_AXES.get(request.x_axis, "step"),
        max_points=_max_points(request.max_points),
        smoothing=_smoothing(request.smoothing),
        from_x=first,
        to_x=last,
        log_x=request.log_x,
        seen=_read_cursor(request.after, len(job_ids)),
    )


def _max_points(asked: int) -> int:
    if asked and not 2 <= asked <= MOST_POINTS:
        message = (
            f"`max_points` is {asked}; it must be from 2 to {MOST_POINTS}; leave it out for "
            f"{DEFAULT_POINTS}"
        )
        raise invalid_argument("max_points", message)
    return asked


def _smoothing(asked: float) -> float:
    if 0 <= asked < 1:
        return asked
    message = f"`smoothing` is {asked:g}; it must be at least 0 and less than 1; try 0.6"
    raise invalid_argument("smoothing", message)


def _range(request: metrics_pb2.GetSeriesRequest) -> tuple[float, float]:
    first = request.from_x if request.HasField("from_x") else -math.inf
    last = request.to_x if request.HasField("to_x") else math.inf
    if first <= last:
        return first, last
    message = (
        f"the range from `from_x` {first:g} to `to_x` {last:g} is empty; `from_x` must not be "
        "greater than `to_x`"
    )
    raise invalid_argument("from_x", message)


def _read_cursor(after: str, jobs: int) -> list[Seen | None]:
    """Return what a cursor of `_write_cursor` says of each job.

    It is not signed, because its numbers are only compared with those of the history.
    """
    if not after:
        return [None] * jobs
    try:
        pairs = [pair.split(".") for pair in after.split("~")]
        seen: list[Seen | None] = [Seen(int(attempt, 36), int(step, 36)) for attempt, step in pairs]
    except ValueError:
        seen = []
    if len(seen) != jobs:
        message = "`after` is no cursor of an answer about these jobs; leave it out to begin again"
        raise invalid_argument("after", message, "INVALID_CURSOR")
    return seen


def _write_cursor(jobs: Sequence[JobCurves]) -> str:
    """Return `attempt.step` of each job's last row, in base 36, with `~` between jobs."""
    pairs = [
        (np.base_repr(attempt, 36), np.base_repr(step, 36)) for attempt, step in map(_last, jobs)
    ]
    return "~".join(f"{attempt}.{step}" for attempt, step in pairs)


def _last(job: JobCurves) -> tuple[int, int]:
    """Return attempt and step of a job's last row; zeros where it has logged nothing."""
    columns = job.columns
    if not columns.rows:
        return 0, 0
    return int(columns.column(ATTEMPT, columns.rows - 1)[0]), columns.last_step


def answer(question: SeriesQuestion, jobs: Sequence[JobCurves]) -> metrics_pb2.GetSeriesResponse:
    """Return the curves that `question` asks for, of `jobs` in the order of its `job_ids`.

    Raises:
        RpcError: No job has one of the metrics, or the answer would be too large.
    """
    logged = [*dict.fromkeys(name for job in jobs for name in job.columns.metrics)]
    metrics = question.metrics or logged
    _check_metrics(metrics, logged)
    most = _most_points(question.max_points, len(jobs) * len(metrics))
    response = metrics_pb2.GetSeriesResponse(metric_names=sorted(logged))
    for job_id, job, seen in zip(question.job_ids, jobs, question.seen, strict=True):
        with job.lock:
            response.series.extend(_series_of_job(question, job_id, job, seen, metrics, most))
    response.cursor = _write_cursor(jobs)
    return response


def _check_metrics(asked: Sequence[str], logged: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in logged and name not in _STANDARD]
    if unknown:
        message = (
            f"`metrics` names {', '.join(map(repr, unknown))}, which none of the jobs has logged; "
            f"they have {', '.join(sorted(logged)) or 'logged nothing yet'}"
        )
        raise invalid_argument("metrics", message)


def _most_points(asked: int, curves: int) -> int:
    """Return how many points each of so many curves may have, where a request asks for `asked`.

    For 0 these are DEFAULT_POINTS, or fewer where an answer has no room for them.
    """
    room = max(2, MOST_IN_ALL // max(1, curves))
    if asked == 0:
        return min(DEFAULT_POINTS, room)
    if asked <= room:
        return asked
    message = (
        f"`max_points` is {asked} and there are {curves} curves, more than {MOST_IN_ALL} points "
        f"together; ask for at most {room}, or for fewer metrics"
    )
    raise invalid_argument("max_points", message)


def _series_of_job(
    question: SeriesQuestion,
    job_id: str,
    job: JobCurves,
    seen: Seen | None,
    metrics: Sequence[str],
    most: int,
) -> Iterator[metrics_pb2.Series]:
    """Yield a job's curves; after a cursor only those with new points, and only these points."""
    if seen is not None and (seen.attempt, seen.step) == _last(job):
        return
    first_row = _first_new_row(job, seen)
    for metric in metrics:
        curve = job.curve(metric)
        first = int(np.searchsorted(curve.rows.values, first_row))
        if first_row and first == curve.rows.size:
            continue
        series = metrics_pb2.Series(job_id=job_id, metric=metric, from_start=first_row == 0)
        _describe(series, curve, job)
        _draw(series, question, job, curve, first, most)
        yield series


def _first_new_row(job: JobCurves, seen: Seen | None) -> int:
    """Return the row after the seen one; 0 where nothing was seen, or the history was cut since."""
    if seen is None:
        return 0
    steps = job.axis("step")
    row = int(np.searchsorted(steps, seen.step))
    if row < len(steps) and steps[row] == seen.step:
        is_same = int(job.columns.column(ATTEMPT, row)[0]) == seen.attempt
        return row + 1 if is_same else 0
    return 0


def _describe(series: metrics_pb2.Series, curve: Curve, job: JobCurves) -> None:
    """Set count, last, least, greatest and best value, of the whole curve."""
    values = curve.values.values
    series.count = len(values)
    if len(values):
        series.last = values[-1]
        steps = job.axis("step")
        series.min, series.min_step = curve.least.value, int(steps[curve.least.row])
        series.max, series.max_step = curve.greatest.value, int(steps[curve.greatest.row])
        if series.metric in _WITHOUT_BEST:
            return
        is_greatest = _GREATER_IS_BETTER.search(series.metric)
        series.best = series.max if is_greatest else series.min
        series.best_step = series.max_step if is_greatest else series.min_step


def _draw(
    series: metrics_pb2.Series,
    question: SeriesQuestion,
    job: JobCurves,
    curve: Curve,
    first: int,
    most: int,
) -> None:
    """Set the points to draw: the curve's values from place `first` on, at most `most` of them."""
    x, y = job.axis(question.axis), curve.shown(question.smoothing)[first:]
    is_in_each_row = len(x) == curve.rows.size
    x = x[first:] if is_in_each_row else x[curve.rows.values[first:].astype(np.intp)]
    if moved := question.moved.get(series.job_id):
        x = x + moved
    # One more point on each side of the range: the line is drawn to the edges.
    start = max(0, int(np.searchsorted(x, question.from_x, side="left")) - 1)
    end = int(np.searchsorted(x, question.to_x, side="right")) + 1
    x, y = x[start:end], y[start:end]
    kept = kept_places(x, y, most, log_x=question.log_x)
    series.x.extend(x[kept].tolist())
    series.y.extend(y[kept].tolist())
