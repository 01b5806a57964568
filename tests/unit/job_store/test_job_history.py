"""The visible history: cuts, republication, paging, charts, bounds."""

from __future__ import annotations

import random

import pytest
from job_store_bench import LOST, Bench, points

from job_store.attempts import AttemptStore
from job_store.charts import unpack_buckets
from job_store.errors import InvalidPageTokenError, NotFoundError, TransitionRefusedError
from job_store.history_records import Bucket, LogLine, MetricPoint
from job_store.ids import new_id
from job_store.records import FencingToken, Outcome, OutcomeKind
from job_store.segments import attempt_showing


async def steps(bench: Bench, job_id: str) -> list[int]:
    return [point.step for point in (await bench.history.page(job_id)).points]


def crash(bench: Bench, token: FencingToken) -> FencingToken:
    record = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    return bench.claim(record)


async def test_history_is_cut_where_the_next_attempt_resumes(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 25))
    bench.checkpoint(token, 20)
    token = crash(bench, token)
    assert await steps(bench, job.job_id) == list(range(1, 21))
    latest = await bench.history.latest(job.job_id)
    assert (latest.step, latest.values["loss"]) == (20, 1 / 20)
    bench.attempts.publish_metrics(token, points(21, 30, offset=1.0))
    page = await bench.history.page(job.job_id)
    assert [(p.step, p.attempt) for p in page.points] == [
        *((s, 1) for s in range(1, 21)),
        *((s, 2) for s in range(21, 31)),
    ]
    assert page.points[20].values["loss"] == 1 / 21 + 1.0
    # A second crash without a checkpoint hides the second attempt whole.
    crash(bench, token)
    assert await steps(bench, job.job_id) == list(range(1, 21))


async def test_a_crash_before_any_checkpoint_starts_the_history_afresh(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 5))
    crash(bench, token)
    assert await steps(bench, job.job_id) == []
    latest = await bench.history.latest(job.job_id)
    assert (latest.step, dict(latest.values)) == (0, {})


async def test_the_next_attempt_publishes_what_the_spool_held(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 6))
    bench.attempts.append_logs(token, [LogLine(0, "zero", 1)])
    bench.checkpoint(token, 10)  # its metrics 7..10 are only in the spool
    token = crash(bench, token)
    before = bench.attempts.attempts(job.job_id)[0]
    assert (before.last_step, before.end_step, before.last_log_seq) == (6, 10, 0)
    sent = bench.attempts.publish_metrics(token, points(3, 13), of_attempt=1)
    assert (sent.delivered, sent.duplicates) == (11, 7)  # 3..6 known, 11..13 beyond the cut
    bench.attempts.append_logs(token, [LogLine(1, "one", 1)], of_attempt=1)
    bench.attempts.publish_metrics(token, points(11, 12))
    assert await steps(bench, job.job_id) == list(range(1, 13))
    assert [line.text for line in (await bench.history.logs(job.job_id)).items] == ["zero", "one"]
    with pytest.raises(TransitionRefusedError, match="already published points"):
        bench.attempts.publish_metrics(token, points(8, 9), of_attempt=1)
    with pytest.raises(ValueError, match="of_attempt is 3; it must be an attempt from 1 to 2"):
        bench.attempts.publish_metrics(token, points(8, 9), of_attempt=3)


async def test_a_step_is_stored_once_and_the_first_delivery_stands(bench: Bench) -> None:
    job, token = await bench.running()
    validated = MetricPoint(2, {"loss": 0.5, "val_loss": 0.25}, 9)
    bench.attempts.publish_metrics(token, [*points(1, 1), validated, *points(3, 3)])
    again = bench.attempts.publish_metrics(token, points(2, 3, offset=1.0))
    assert (again.delivered, again.duplicates) == (2, 2)
    page = await bench.history.page(job.job_id, page_size=2)
    assert dict(page.points[1].values) == {"loss": 0.5, "val_loss": 0.25}
    rest = await bench.history.page(job.job_id, page_token=page.next_page_token)
    assert [(p.step, p.values["loss"]) for p in rest.points] == [(3, 1 / 3)]
    latest = await bench.history.latest(job.job_id)
    assert dict(latest.steps) == {"loss": 3, "lr": 3, "val_loss": 2}


async def test_an_attempt_completes_the_line_of_its_resume_step(bench: Bench) -> None:
    """Stopped in a validation at step 4, twice: the line belongs to the attempt before both."""
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 2))
    for _ in range(2):
        bench.checkpoint(token, 4)
        token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK)))
    attempts = bench.attempts.attempts(job.job_id)
    assert [(a.start_step, a.end_step) for a in attempts] == [(0, 4), (4, 4), (4, None)]
    assert [attempt_showing(attempts, step) for step in (0, 1, 4, 5, 99)] == [1, 1, 1, 3, 3]
    whole = MetricPoint(4, {"loss": 0.25, "val_loss": 2.0}, 9)
    bench.attempts.publish_metrics(token, [whole], of_attempt=1)
    bench.attempts.publish_metrics(token, points(6, 8))
    page = await bench.history.page(job.job_id)
    assert [(p.step, p.attempt) for p in page.points] == [
        (1, 1), (2, 1), (4, 1), (6, 3), (7, 3), (8, 3)
    ]  # fmt: skip
    assert dict((await bench.history.latest(job.job_id)).steps) == {
        "loss": 8, "lr": 8, "val_loss": 4
    }  # fmt: skip


async def test_what_completes_an_old_attempt_is_not_taken_for_the_latest(bench: Bench) -> None:
    """Attempt 1's worker could not deliver step 3; attempt 2 ran on another machine."""
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 2))
    bench.checkpoint(token, 3)
    token = crash(bench, token)
    bench.attempts.publish_metrics(token, points(4, 6))
    bench.checkpoint(token, 6)
    token = crash(bench, token)
    undelivered = MetricPoint(3, {"loss": 0.3, "val_loss": 2.0}, 3)
    bench.attempts.publish_metrics(token, [undelivered], of_attempt=1)
    assert await steps(bench, job.job_id) == [1, 2, 3, 4, 5, 6]
    assert dict((await bench.history.latest(job.job_id)).steps) == {
        "loss": 6, "lr": 6, "val_loss": 3
    }  # fmt: skip
    stored = bench.worker.command("HMGET", f"te:job:{job.job_id}", "visible_step", "last_point")
    assert stored == [b"6", b"2:6"]


async def test_values_come_back_bit_for_bit(bench: Bench) -> None:
    job, token = await bench.running()
    values = {"loss": 0.1 + 0.2, "lr": 5e-324, "grad_norm": float("inf"), "tokens_seen": 2.0**52}
    bench.attempts.publish_metrics(token, [MetricPoint(0, values, 1_700_000_000_123)])
    (point,) = (await bench.history.page(job.job_id)).points
    assert (point.step, point.time_ms, dict(point.values)) == (0, 1_700_000_000_123, values)
    assert dict((await bench.history.latest(job.job_id)).values) == values
    assert (await bench.jobs.get(job.job_id)).tokens_seen == 2**52


async def test_pages_are_bounded_by_steps_and_survive_new_points(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 20))
    read, page_token = [], ""
    for _ in range(4):
        page = await bench.history.page(job.job_id, page_size=7, page_token=page_token, to_step=22)
        read += [p.step for p in page.points]
        page_token = page.next_page_token
        if not page_token:
            break
        bench.attempts.publish_metrics(token, points(21, 25))
    assert read == list(range(1, 23))
    some = await bench.history.page(job.job_id, after_step=3, to_step=6)
    assert [p.step for p in some.points] == [4, 5, 6]
    assert (await bench.history.page(job.job_id, from_step=99)).points == ()


async def test_foreign_and_damaged_page_tokens_are_refused(bench: Bench) -> None:
    job, token = await bench.running()
    other, _ = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 5))
    page_token = (await bench.history.page(job.job_id, page_size=2)).next_page_token
    with pytest.raises(InvalidPageTokenError, match=f"it belongs to '{job.job_id}'"):
        await bench.history.page(other.job_id, page_token=page_token)
    with pytest.raises(InvalidPageTokenError, match="it is for 'points', not for 'logs'"):
        await bench.history.logs(job.job_id, page_token=page_token)
    for bad in ("x", "é" * 8, page_token[:-2], "A" * 10_000, "AAAAAAAA", page_token + "A"):
        with pytest.raises(InvalidPageTokenError, match="cannot be used"):
            await bench.history.page(job.job_id, page_token=bad)


@pytest.mark.parametrize("bad", ["job_x", "", "../../etc", "job_" + "i" * 26, "a\x00b:latest"])
async def test_odd_ids_are_not_found(bench: Bench, bad: str) -> None:
    for read in (bench.history.latest, bench.history.page, bench.jobs.get, bench.history.log_tail):
        with pytest.raises(NotFoundError, match="there is no job"):
            await read(bad)
    with pytest.raises(NotFoundError):
        await bench.history.chart(new_id("job"), 10)


async def test_wrong_points_are_refused_with_a_remedy(bench: Bench) -> None:
    _, token = await bench.running()
    with pytest.raises(ValueError, match="a metric is called 'a,b'"):
        bench.attempts.publish_metrics(token, [MetricPoint(1, {"a,b": 1.0}, 1)])
    with pytest.raises(ValueError, match="has 0 metrics; it must have 1 to 100"):
        bench.attempts.publish_metrics(token, [MetricPoint(1, {}, 1)])
    with pytest.raises(ValueError, match="step -1; it must be ≥ 0; count steps from 1"):
        bench.attempts.publish_metrics(token, [MetricPoint(-1, {"loss": 1.0}, 1)])


def check_chart(chart: list[Bucket], losses: dict[int, float], first: int, last: int) -> None:
    """Every point of first..last is in exactly one bucket, whose extents are those of its steps."""
    assert chart[0].first_step == first
    assert chart[-1].last_step == last
    expected = first
    for bucket in chart:
        assert bucket.first_step == expected
        inside = [losses[s] for s in range(bucket.first_step, bucket.last_step + 1)]
        assert bucket.count == len(inside)
        assert bucket.metrics["loss"] == (min(inside), max(inside), inside[-1])
        expected = bucket.last_step + 1


async def test_charts_keep_extremes_over_cuts_and_ranges(bench: Bench) -> None:
    chance = random.Random(7)
    job, token = await bench.running(max_steps=10_000)
    losses: dict[int, float] = {}

    def train(first: int, last: int) -> None:
        made = [MetricPoint(s, {"loss": chance.random()}, s) for s in range(first, last + 1)]
        losses.update({p.step: p.values["loss"] for p in made})
        bench.attempts.publish_metrics(token, made)

    train(1, 1500)
    bench.checkpoint(token, 1234)
    token = crash(bench, token)
    train(1235, 3001)
    bench.checkpoint(token, 2047)
    token = crash(bench, token)
    train(2048, 3333)
    for wanted in (10, 37, 100, 400, 2000):
        chart = list(await bench.history.chart(job.job_id, wanted))
        assert len(chart) <= wanted
        assert len(chart) * 4 >= min(wanted, 3333)
        check_chart(chart, losses, 1, 3333)
    chart = list(await bench.history.chart(job.job_id, 50, from_step=1001, to_step=3000))
    assert len(chart) <= 50
    check_chart(chart, losses, 1001, 3000)


async def test_a_chart_of_a_long_run_reads_few_buckets_and_no_point(bench: Bench) -> None:
    job, token = await bench.running()
    for first in range(1, 4097, 512):
        bench.attempts.publish_metrics(token, points(first, first + 511))
    finest = f"te:job:{job.job_id}:summary:1:3"
    bench.worker.command("XTRIM", finest, "MAXLEN", 4)  # as it is where there were more
    reply = bench.worker.run("read_chart", job.job_id, 1, 4096, 100)
    assert reply is not None
    level, _, packed, files, _, buckets = reply
    assert (level, packed, files) == (6, b"", [])
    assert [
        (each.first_step, each.last_step) for each in unpack_buckets(["loss", "lr"], buckets)
    ] == [(first, first + 63) for first in range(1, 4097, 64)]


async def test_a_metric_that_appears_late_is_in_the_chart(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 300))
    late = [
        MetricPoint(s, {"val_loss": float(s)} if s % 50 == 0 else {"loss": 1.0, "lr": 0.0}, s)
        for s in range(301, 601)
    ]
    bench.attempts.publish_metrics(token, late)
    chart = await bench.history.chart(job.job_id, 20)
    assert "val_loss" not in chart[0].metrics
    assert max(b.metrics["val_loss"].max for b in chart if "val_loss" in b.metrics) == 600.0
    assert sum(b.count for b in chart) == 600


@pytest.mark.parametrize("last", [3, 300])  # read point by point, and from summaries
async def test_what_is_not_finite_does_not_hide_the_extremes(bench: Bench, last: int) -> None:
    job, token = await bench.running()
    made = [MetricPoint(s, {"mine": float(s), "loss": 1.0}, s) for s in range(1, last + 1)]
    made[1] = MetricPoint(2, {"mine": float("inf"), "loss": float("nan")}, 2)
    bench.attempts.publish_metrics(token, made)
    (bucket,) = await bench.history.chart(job.job_id, 1)
    assert bucket.metrics["mine"] == (1.0, last, last)
    assert bucket.metrics["loss"] == (1.0, 1.0, 1.0)


async def test_the_most_metrics_that_a_point_may_have_are_in_the_chart(bench: Bench) -> None:
    job, token = await bench.running()
    values = {f"own/metric_{i}": float(i) for i in range(100)}
    bench.attempts.publish_metrics(token, [MetricPoint(s, values, s) for s in range(1, 401)])
    chart = await bench.history.chart(job.job_id, 20)
    assert [bucket.metrics.keys() for bucket in chart] == [values.keys()] * len(chart)
    assert (await bench.history.latest(job.job_id)).values == values
    with pytest.raises(ValueError, match="has 101 metrics; it must have 1 to 100"):
        bench.attempts.publish_metrics(token, [MetricPoint(401, {**values, "x": 1.0}, 1)])


async def test_a_logged_step_of_nine_fields_costs_at_most_130_bytes(bench: Bench) -> None:
    job, token = await bench.running(max_steps=10_000)
    chance = random.Random(1)
    made = [
        MetricPoint(s, {f"metric_{i}": chance.random() for i in range(9)}, 1_700_000_000_000 + s)
        for s in range(1, 5001)
    ]
    bench.attempts.publish_metrics(token, made)
    key = f"te:job:{job.job_id}:metrics:1"
    assert bench.worker.command("MEMORY", "USAGE", key, "SAMPLES", 0) / 5000 <= 130


async def test_logs_are_bounded_paged_and_cut(bench: Bench) -> None:
    job, token = await bench.running()
    small = AttemptStore(bench.worker, max_log_lines=200)
    small.append_logs(token, [LogLine(i, f"line {i}", 1) for i in range(1000)])
    token = crash(bench, token)
    bench.attempts.append_logs(token, [LogLine(0, "x" * 9000, 1, "stderr"), LogLine(1, "é\t\n", 2)])
    lines, page_token = [], ""
    while True:
        page = await bench.history.logs(job.job_id, page_size=90, page_token=page_token)
        lines += page.items
        page_token = page.next_page_token
        if not page_token:
            break
    first = [line for line in lines if line.attempt == 1]
    assert 200 <= len(first) <= 300
    assert first[-1].text == "line 999"
    assert lines[-2].source == "stderr"
    assert lines[-2].text == "x" * 8192 + " […]"
    assert (lines[-1].attempt, lines[-1].text) == (2, "é\t\n")
    only = await bench.history.logs(job.job_id, attempt=2)
    assert [line.seq for line in only.items] == [0, 1]
