"""GetSeries over a real channel: smoothing, thinning, zoom, following, cuts, files, bad input."""

from __future__ import annotations

import math
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failure import failure_of
from started import running_job

from control_plane.archive import ArtifactArchive
from control_plane.series.columns import Columns
from control_plane.series.curves import JobCurves
from control_plane.series.folder import ColumnFolder
from control_plane.series.smoothing import Smoothed
from control_plane.series.store import SeriesStore
from control_plane.series.thinning import kept_places
from control_plane.server import ControlPlane
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.packed_history import PackedHistory
from job_store.records import CheckpointRecord, FencingToken, Outcome, OutcomeKind
from training_engine.v1 import job_pb2, metrics_pb2
from training_worker.archive import PointArchive

TENSORBOARD = [4.0, math.nan, 2.0, math.inf, 1.0, 3.0]
"""Values, with some that are not finite."""


def tensorboard(values: list[float], weight: float) -> list[float]:
    """The loop of TensorBoard's line chart, without the values that it passes over."""
    last, count, shown = 0.0, 0, []
    for value in values:
        if math.isfinite(value):
            last = last * weight + (1 - weight) * value
            count += 1
            shown.append(last / (1 - weight**count))
    return shown


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.999])
def test_the_average_is_tensorboards_however_the_values_come(weight: float) -> None:
    values = np.random.default_rng(1).normal(size=1000)
    average = Smoothed(weight)
    for part in np.split(values, [1, 2, 5, 600]):
        average.extend(part)
    assert average.shown.values == pytest.approx(tensorboard(list(values), weight), rel=1e-12)


def test_thinning_keeps_ends_and_spikes_and_fills_a_logarithmic_axis() -> None:
    x = np.arange(1.0, 100_001)
    y = np.sin(x)
    y[70_000], y[3] = 50.0, -50.0
    for log_x in (False, True):
        kept = kept_places(x, y, 100, log_x=log_x)
        assert len(kept) <= 100
        assert {0, 3, 70_000, 99_999} <= set(kept.tolist())
    assert np.count_nonzero(x[kept] < 1000) > 40
    assert kept_places(x[:50], y[:50], 100).tolist() == list(range(50))
    assert kept_places(x, y, 2).tolist() == [0, 99_999]


def points(steps: range, slope: float = 1.0) -> list[MetricPoint]:
    """A point each step; validation and its own time each tenth."""
    found = []
    for step in steps:
        values = {"loss": slope * step, "tokens_seen": 64.0 * step}
        values |= {"val_loss": 10.0 / step, "mine/x": -1.0} if step % 10 == 0 else {}
        found.append(MetricPoint(step, values, 1_000_000 + 500 * step))
    return found


async def ask(stubs: Any, *job_ids: str, **fields: Any) -> Any:
    return await stubs.metrics.GetSeries(metrics_pb2.GetSeriesRequest(job_ids=job_ids, **fields))


async def test_curves_of_two_jobs_over_each_axis(stubs: Any, attempts: AttemptStore) -> None:
    first, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(range(1, 101)))
    second, token = await running_job(stubs, attempts)
    odd = [MetricPoint(n, {"loss": v}, 0) for n, v in enumerate(TENSORBOARD, 1)]
    attempts.publish_metrics(token, odd)
    answer = await ask(stubs, first, second, metrics=["val_loss", "loss"])
    assert [(s.job_id, s.metric, len(s.x)) for s in answer.series] == [
        (first, "val_loss", 10), (first, "loss", 100), (second, "val_loss", 0), (second, "loss", 4),
    ]  # fmt: skip
    assert set(answer.metric_names) == {"loss", "tokens_seen", "val_loss", "mine/x"}
    validation = answer.series[0]
    assert (validation.count, validation.last, validation.min, validation.min_step) == (
        10, 0.1, 0.1, 100,
    )  # fmt: skip
    assert (validation.max, validation.max_step, validation.from_start) == (1.0, 10, True)
    assert (validation.best, validation.best_step) == (0.1, 100)
    seen = (await ask(stubs, first, metrics=["tokens_seen"])).series[0]
    assert (seen.HasField("best"), seen.last) == (False, 6400)  # no value is the better one
    by_tokens = await ask(stubs, first, metrics=["val_loss"], x_axis=metrics_pb2.SERIES_AXIS_TOKENS)
    assert list(by_tokens.series[0].x) == [640.0 * n for n in range(1, 11)]
    by_time = await ask(stubs, first, metrics=["mine/x"], x_axis=metrics_pb2.SERIES_AXIS_TIME)
    assert list(by_time.series[0].x) == [0.5 * (10 * n - 1) for n in range(1, 11)]
    smooth = await ask(stubs, second, metrics=["loss"], smoothing=0.6)
    assert list(smooth.series[0].y) == pytest.approx(tensorboard(TENSORBOARD, 0.6), rel=1e-12)
    everything = await ask(stubs, first, second)
    assert len(everything.series) == 8


async def test_the_best_value_is_the_greatest_of_metrics_that_are_named_so(
    stubs: Any, attempts: AttemptStore
) -> None:
    greatest = [
        "my/accuracy",
        "val_acc",
        "F1.acc-2",
        "top1/f1",
        "auc",
        "bleu_4",
        "tokens_per_second",
    ]
    least = ["acceleration", "f10x", "pace", "val_loss", "grad_norm"]
    job_id, token = await running_job(stubs, attempts)
    rows = [dict.fromkeys([*greatest, *least], float(value)) for value in (1, 3, 2)]
    attempts.publish_metrics(token, [MetricPoint(n, row, 0) for n, row in enumerate(rows, 1)])
    best = {each.metric: each.best for each in (await ask(stubs, job_id)).series}
    assert {name for name, value in best.items() if value == 3} == set(greatest)
    assert {name for name, value in best.items() if value == 1} == set(least)


async def test_a_zoomed_curve_shows_the_same_values_of_old_points_too(
    plane: ControlPlane, stubs: Any, worker_connection: Connection
) -> None:
    attempts = AttemptStore(worker_connection, max_raw_points=500)
    job_id, token = await running_job(stubs, attempts)
    archive = PointArchive(attempts, plane.state.artifacts, token)
    for first in range(1, 2000, 500):
        attempts.publish_metrics(token, points(range(first, first + 500), slope=-1.0))
        archive.published(500)
    assert attempts.attempts(job_id)[0].points < 1000
    asked: dict[str, Any] = {"metrics": ["loss"], "smoothing": 0.9}
    (whole,) = (await ask(stubs, job_id, max_points=10_000, **asked)).series
    assert list(whole.x) == [float(step) for step in range(1, 2001)]
    values = dict(zip(whole.x, whole.y, strict=True))
    (part,) = (await ask(stubs, job_id, max_points=40, from_x=500.0, to_x=900.0, **asked)).series
    assert (part.x[0], part.x[-1]) == (499.0, 901.0)  # a line reaches the chart's edges
    assert 30 < len(part.x) <= 40
    assert [values[x] for x in part.x] == list(part.y)


async def test_following_brings_what_is_new_and_begins_again_after_a_cut(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(range(1, 101)))
    asked = {"metrics": ["loss", "val_loss"], "smoothing": 0.5}
    first = await ask(stubs, job_id, **asked)
    attempts.publish_metrics(token, points(range(101, 105)))
    news = await ask(stubs, job_id, after=first.cursor, **asked)
    assert [(s.metric, list(s.x), s.from_start) for s in news.series] == [
        ("loss", [101.0, 102.0, 103.0, 104.0], False)
    ]
    whole = (await ask(stubs, job_id, **asked)).series[0]
    assert list(whole.y[100:]) == list(news.series[0].y)
    assert not (await ask(stubs, job_id, after=news.cursor, **asked)).series
    again = resumed(attempts, token, 50)
    attempts.publish_metrics(again, points(range(51, 61), slope=2.0))
    after_cut = await ask(stubs, job_id, after=news.cursor, metrics=["loss"])
    assert [(len(s.x), s.from_start, s.last) for s in after_cut.series] == [(60, True, 120.0)]
    assert list(after_cut.series[0].y[48:52]) == [49.0, 50.0, 102.0, 104.0]
    axes = (metrics_pb2.SERIES_AXIS_TIME, metrics_pb2.SERIES_AXIS_WALL_TIME)
    curves = [(await ask(stubs, job_id, metrics=["loss"], x_axis=axis)).series[0] for axis in axes]
    training, by_clock = (list(curve.x) for curve in curves)
    assert training == [0.5 * step for step in [*range(50), *range(49, 59)]]
    assert by_clock == [0.5 * step for step in range(60)]


def resumed(attempts: AttemptStore, token: FencingToken, step: int) -> FencingToken:
    """The next attempt, which begins after a checkpoint of `step`."""
    saved = CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=1.0,
        size_bytes=3,
        sha256="ab" * 32,
        artifact=f"jobs/{token.job_id}/{step}.pt",
        created_at=0,
    )
    attempts.register_checkpoint(token, saved)
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    claimed = attempts.claim(token.job_id, token.attempt + 1, "worker-2")
    assert claimed is not None
    attempts.confirm_start(claimed.token, step)
    return claimed.token


async def test_a_copy_in_a_file_is_the_history_whatever_becomes_of_both(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore, tmp_path: Path
) -> None:
    job_id, token = await running_job(stubs, attempts)
    archive = ArtifactArchive(plane.state.artifacts)
    history = PackedHistory(plane.state.connection, archive)
    file = tmp_path / f"{job_id}.columns"

    async def read() -> tuple[list[float], list[float]]:
        """What a process that begins now reads."""
        store = SeriesStore(history, ColumnFolder(tmp_path))
        steps, losses = await store.compute([job_id], lambda jobs: drawn(jobs[0]))
        store.close()
        return steps, losses

    attempts.publish_metrics(token, points(range(1, 41)))
    assert await read() == expected(range(1, 41))
    again = resumed(attempts, token, 30)
    attempts.publish_metrics(again, points(range(31, 51), slope=2.0))
    before, after = expected(range(1, 31)), expected(range(31, 51), slope=2.0)
    whole = (before[0] + after[0], before[1] + after[1])
    assert await read() == whole
    size = file.stat().st_size
    assert await read() == whole
    assert file.stat().st_size == size  # nothing was new
    content = bytearray(file.read_bytes())
    for place in (40, len(content) // 2, len(content) - 5):  # a head, and two columns
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert await read() == whole
    file.write_bytes(content[:-9])
    assert await read() == whole
    attempts.publish_metrics(again, points(range(51, 651), slope=2.0))
    living = SeriesStore(history, ColumnFolder(tmp_path))
    await living.compute([job_id], lambda jobs: drawn(jobs[0]))
    assert Columns(file).rows == 650  # so that it is there when this process is killed
    living.close()
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))


def test_the_temporary_copies_of_a_killed_process_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if (pid := os.fork()) == 0:
        ColumnFolder(None).file_of("job")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    abandoned = list(tmp_path.iterdir())
    assert len(abandoned) == 1
    folder = ColumnFolder(None)
    file = folder.file_of("job")
    assert file is not None
    assert list(tmp_path.iterdir()) == [file.parent] != abandoned
    folder.close()
    assert list(tmp_path.iterdir()) == []


def drawn(job: JobCurves) -> tuple[list[float], list[float]]:
    curve = job.curve("loss")
    steps = job.axis("step")[curve.rows.values.astype(int)]
    return steps.tolist(), curve.values.values.tolist()


def expected(steps: range, slope: float = 1.0) -> tuple[list[float], list[float]]:
    return [float(step) for step in steps], [slope * step for step in steps]


async def test_what_cannot_be_drawn_is_refused_with_the_rule(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    early = await ask(stubs, job_id, metrics=["val_loss"])  # it may come
    assert [(s.metric, s.count, s.HasField("last")) for s in early.series] == [
        ("val_loss", 0, False)
    ]
    again = await ask(stubs, job_id, metrics=["val_loss"], after=early.cursor)
    assert not again.series  # nothing is no news
    attempts.publish_metrics(token, points(range(1, 11)))
    cases: dict[str, tuple[list[str], dict[str, Any], str]] = {
        "job_ids": ([], {}, "has 0 jobs"),
        "metrics": ([job_id], {"metrics": ["los"]}, "they have loss, mine/x, tokens_seen"),
        "smoothing": ([job_id], {"smoothing": 1.0}, "less than 1"),
        "from_x": ([job_id], {"from_x": 2.0, "to_x": 1.0}, "is empty"),
        "max_points": ([job_id], {"max_points": 1}, "from 2 to 10000"),
        "after": ([job_id], {"after": "nonsense~"}, "no cursor"),
    }
    for field, (ids, fields, says) in cases.items():
        failure = await failure_of(ask(stubs, *ids, **fields))
        assert says in failure.message, failure
        assert [*failure.fields] == [field]
    many = await failure_of(ask(stubs, *(new_id("job") for _ in range(51))))
    assert "has 51 jobs; it must have 1 to 50" in many.message
    unknown = await failure_of(ask(stubs, job_id, new_id("job")))
    assert unknown.reason == "JOB_NOT_FOUND"
