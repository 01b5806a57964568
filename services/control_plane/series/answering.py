"""Answers GetSeries: checks what is asked for, and makes the curves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from control_plane.errors import invalid_argument
from control_plane.series.columns import ATTEMPT
from control_plane.series.curves import Curve, JobCurves
from control_plane.series.thinning import kept_places
from training_engine.messages import enum_words
from training_engine.v1 import metrics_pb2

MOST_JOBS = 50
MOST_POINTS = 10_000
DEFAULT_POINTS = 1000
MOST_IN_ALL = 400_000
_AXES = enum_words(metrics_pb2.SeriesAxis.DESCRIPTOR)
_STANDARD = frozenset(
    field.name
    for field in metrics_pb2.MetricPoint.DESCRIPTOR.fields
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_INT64) and field.name != "step"
)
"""Metrics that any job may log later, so that asking for them early is no mistake."""

_WITHOUT_BEST = ("lr", "tokens_seen")
"""Of these no value is better than another."""

_GREATER_IS_BETTER = re.compile(r"_per_second$|^mfu$|accuracy|score|reward")


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
    """Of a curve; 0 for the usual number."""
    smoothing: float
    from_x: float
    to_x: float
    log_x: bool
    seen: Sequence[Seen | None]
    """For each job; None where everything is asked for."""


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
    """Return the places of a cursor. It is not signed: what it says is only compared."""
    if not after:
        return [None] * jobs
    try:
        places = [place.split(".") for place in after.split("~")]
        seen: list[Seen | None] = [Seen(int(a, 36), int(s, 36)) for a, s in places]
    except ValueError:
        seen = []
    if len(seen) != jobs:
        message = "`after` is no cursor of an answer about these jobs; leave it out to begin again"
        raise invalid_argument("after", message, "INVALID_CURSOR")
    return seen


def write_cursor(jobs: Sequence[JobCurves]) -> str:
    """Return a cursor behind the last rows of jobs, in their order."""
    return "~".join(f"{np.base_repr(a, 36)}.{np.base_repr(s, 36)}" for a, s in map(_newest, jobs))


def _newest(job: JobCurves) -> tuple[int, int]:
    columns = job.columns
    if not columns.rows:
        return 0, 0
    return int(columns.column(ATTEMPT, columns.rows - 1)[0]), columns.last_step


def answer(question: SeriesQuestion, jobs: Sequence[JobCurves]) -> metrics_pb2.GetSeriesResponse:
    """Return the curves.

    Raises:
        RpcError: No job has one of the metrics, or the answer would be too large.
    """
    names = [*dict.fromkeys(name for job in jobs for name in job.columns.metrics)]
    metrics = question.metrics or names
    _check_metrics(metrics, names)
    most = _most_points(question.max_points, len(jobs) * len(metrics))
    response = metrics_pb2.GetSeriesResponse(metric_names=sorted(names))
    for job_id, job, seen in zip(question.job_ids, jobs, question.seen, strict=True):
        with job.lock:
            response.series.extend(_of_job(question, job_id, job, seen, metrics, most))
    response.cursor = write_cursor(jobs)
    return response


def _check_metrics(asked: Sequence[str], names: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in names and name not in _STANDARD]
    if unknown:
        message = (
            f"`metrics` names {', '.join(map(repr, unknown))}, which none of the jobs has logged; "
            f"they have {', '.join(sorted(names)) or 'logged nothing yet'}"
        )
        raise invalid_argument("metrics", message)


def _most_points(asked: int, curves: int) -> int:
    """Return how many points a curve may have: the usual number, or less, where 0 was asked for."""
    room = max(2, MOST_IN_ALL // max(1, curves))
    if asked <= room:
        return asked or min(DEFAULT_POINTS, room)
    message = (
        f"`max_points` is {asked} and there are {curves} curves, more than {MOST_IN_ALL} points "
        f"together; ask for at most {room}, or for fewer metrics"
    )
    raise invalid_argument("max_points", message)


def _of_job(
    question: SeriesQuestion,
    job_id: str,
    job: JobCurves,
    seen: Seen | None,
    metrics: Sequence[str],
    most: int,
) -> Iterator[metrics_pb2.Series]:
    if seen is not None and (seen.attempt, seen.step) == _newest(job):
        return
    start = _first_new_row(job, seen)
    for metric in metrics:
        curve = job.curve(metric)
        first = int(np.searchsorted(curve.rows.values, start))
        if seen is not None and start and first == curve.rows.size:
            continue
        series = metrics_pb2.Series(job_id=job_id, metric=metric, from_start=start == 0)
        _describe(series, curve, job)
        _draw(series, question, job, curve, first, most)
        yield series


def _first_new_row(job: JobCurves, seen: Seen | None) -> int:
    """Return the row behind what was seen; 0 where that is not part of the history any more."""
    if seen is None:
        return 0
    steps = job.axis("step")
    row = int(np.searchsorted(steps, seen.step))
    if row < len(steps) and steps[row] == seen.step:
        is_same = int(job.columns.column(ATTEMPT, row)[0]) == seen.attempt
        return row + 1 if is_same else 0
    return 0


def _describe(series: metrics_pb2.Series, curve: Curve, job: JobCurves) -> None:
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
    rows = curve.rows.values[first:].astype(np.intp)
    x, y = job.axis(question.axis)[rows], curve.shown(question.smoothing)[first:]
    start = max(0, int(np.searchsorted(x, question.from_x, side="left")) - 1)
    end = int(np.searchsorted(x, question.to_x, side="right")) + 1
    x, y = x[start:end], y[start:end]
    kept = kept_places(x, y, most, log_x=question.log_x)
    series.x.extend(x[kept])
    series.y.extend(y[kept])
