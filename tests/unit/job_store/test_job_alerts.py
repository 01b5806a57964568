"""Alerts fire where points arrive and where a job ends: each once, whatever is delivered twice."""

from __future__ import annotations

import json
import math
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from job_store_bench import LOST, Bench, new_job, points

from job_store.alerts import Alert, AlertDelivery, alert_text, encode_rules, first_stall
from job_store.errors import NotFoundError
from job_store.events import AlertEvent, MetricsEvent, StateEvent
from job_store.history_records import MetricPoint
from job_store.records import FencingToken, JobError, Outcome, OutcomeKind
from job_store.streams import JobFeeds

BELOW = {"when": "below", "metric": "loss", "value": 0.2, "points": 3}
ABOVE = {"when": "above", "metric": "lr", "value": 4.5e-4}
RULES = [BELOW, ABOVE, {"when": "failed"}, {"when": "finished"}, {"when": "not_finite"}]


async def started(bench: Bench, *rules: dict[str, Any]) -> tuple[str, FencingToken]:
    job = await bench.jobs.create(replace(new_job(), alert_rules=encode_rules(rules)))
    return job.job_id, bench.claim(job)


async def fired(bench: Bench, job_id: str) -> list[tuple[int, int, int]]:
    return [(one.rule, one.step, one.attempt) for one in await bench.history.alerts(job_id)]


async def test_a_rule_fires_once_for_points_in_a_row_and_not_for_those_that_come_again(
    bench: Bench,
) -> None:
    job_id, token = await started(bench, BELOW, ABOVE)
    bench.attempts.publish_metrics(token, points(1, 7))  # the loss is below from step 6 on
    assert await fired(bench, job_id) == [(1, 5, 1)]
    bench.attempts.publish_metrics(token, points(1, 7))
    bench.checkpoint(token, 6)  # in the middle of the row
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    second = bench.claim(await bench.jobs.get(job_id))
    bench.attempts.publish_metrics(second, points(7, 7))
    assert await fired(bench, job_id) == [(1, 5, 1)]
    bench.attempts.publish_metrics(second, points(8, 8))
    assert await fired(bench, job_id) == [(1, 5, 1), (0, 8, 2)]
    bench.attempts.publish_metrics(second, points(9, 30))
    assert await fired(bench, job_id) == [(1, 5, 1), (0, 8, 2)]
    (lr, loss) = await bench.history.alerts(job_id)
    assert (lr.value, loss.value) == (5e-4, 0.125)
    assert loss.created_at > 1_700_000_000_000


async def test_points_in_between_begin_the_row_again(bench: Bench) -> None:
    job_id, token = await started(bench, BELOW)
    losses = [0.1, 0.1, 0.3, 0.1, 0.1, math.nan, 0.1, 0.1, 0.1]
    made = [MetricPoint(step, {"loss": loss}, 0) for step, loss in enumerate(losses, 1)]
    bench.attempts.publish_metrics(token, made[:8])
    bench.attempts.publish_metrics(token, [MetricPoint(20, {"val_loss": 9.0}, 0)])
    assert await fired(bench, job_id) == []
    bench.attempts.publish_metrics(token, [replace(made[8], step=21)])
    assert await fired(bench, job_id) == [(0, 21, 1)]


async def test_each_end_fires_once_and_a_resume_arms_the_rules_again(bench: Bench) -> None:
    job_id, token = await started(bench, *RULES)
    bench.attempts.publish_metrics(token, points(1, 5))
    failure = Outcome(OutcomeKind.FAILED, JobError("NON_FINITE_LOSS", "the loss is nan"))
    bench.attempts.finish(token, failure)
    bench.attempts.finish(token, failure)
    assert await fired(bench, job_id) == [(1, 5, 1), (2, 5, 1), (4, 5, 1)]
    await bench.jobs.resume(job_id, from_start=True)
    second = bench.claim(await bench.jobs.get(job_id))
    bench.attempts.confirm_start(second, 0)
    bench.attempts.publish_metrics(second, points(1, 6))
    bench.attempts.finish(second, Outcome(OutcomeKind.SUCCEEDED))
    assert (await fired(bench, job_id))[3:] == [(1, 5, 2), (3, 6, 2)]
    ids = {one.alert_id for one in await bench.history.alerts(job_id)}
    assert len(ids) == 5, "rule 1 at step 5, since it was armed again, is another alert"


async def test_a_job_that_is_stopped_or_fails_otherwise_fires_what_fits(bench: Bench) -> None:
    job_id, token = await started(bench, *RULES)
    await bench.jobs.request_stop(job_id)
    bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    assert await fired(bench, job_id) == []
    other, token = await started(bench, *RULES)
    bench.attempts.publish_metrics(token, [MetricPoint(1, {"loss": math.inf}, 0)])
    assert await fired(bench, other) == [(4, 1, 1)]
    bench.attempts.finish(token, Outcome(OutcomeKind.FAILED, JobError("DISK_FULL", "no room")))
    assert await fired(bench, other) == [(4, 1, 1), (2, 1, 1)]


async def test_a_stall_fires_once_for_the_same_sign_of_life(bench: Bench) -> None:
    stalled = {"when": "stalled", "seconds": 30.0}
    longer, failed = {"when": "stalled", "seconds": 60.0}, {"when": "failed"}
    job_id, token = await started(bench, stalled, longer, failed)
    plain, _ = await started(bench)
    watched = {one.job_id: one for one in await bench.reconciler.running_attempts()}
    assert watched[plain].first_stall_alert == math.inf
    attempt = watched[job_id]
    assert attempt.first_stall_alert == 30
    for seconds, count in ((29.0, 0), (30.0, 1), (31.0, 1), (61.0, 2), (90.0, 2)):
        assert await bench.reconciler.fire_stalled(attempt, seconds)
        assert len(await fired(bench, job_id)) == count
    moved = replace(attempt, sign_of_life="another")
    assert await bench.reconciler.fire_stalled(moved, 30.0)
    assert await fired(bench, job_id) == [(0, 0, 1), (1, 0, 1), (0, 0, 1)]
    assert not await bench.reconciler.fire_stalled(watched[plain], 1e9)
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert not await bench.reconciler.fire_stalled(replace(moved, sign_of_life="late"), 99.0)
    assert len(await fired(bench, job_id)) == 3


async def test_watchers_see_an_alert_between_its_point_and_the_end(bench: Bench) -> None:
    job_id, token = await started(bench, *RULES)
    bench.attempts.publish_metrics(token, points(1, 5))
    bench.attempts.publish_metrics(token, points(6, 6))
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    feeds = JobFeeds(bench.connection)
    seen: list[str] = []
    async with aclosing(feeds.watch(job_id)) as items:  # type: ignore[type-var]
        async for item in items:
            match item.event:
                case AlertEvent(alert):
                    seen.append(f"rule {alert.rule}")
                case MetricsEvent(step=step):
                    seen.append(f"step {step}")
                case StateEvent(status=status):
                    seen.append(status.value)
    await feeds.close()
    assert seen[-5:] == ["step 5", "rule 1", "step 6", "rule 3", "succeeded"]


async def test_only_the_newest_are_kept(bench: Bench) -> None:
    job_id, _ = await started(bench, {"when": "stalled", "seconds": 1.0})
    (attempt,) = await bench.reconciler.running_attempts()
    for number in range(102):
        await bench.reconciler.fire_stalled(replace(attempt, sign_of_life=str(number)), 2.0)
    assert len(await fired(bench, job_id)) == 100
    with pytest.raises(NotFoundError):
        await bench.history.alerts("job_00000000000000000000000000")


async def test_a_delivery_is_noted_until_none_is_pending(bench: Bench) -> None:
    job_id, token = await started(bench, ABOVE, {"when": "finished"})
    note = bench.reconciler.note_delivery
    bench.attempts.publish_metrics(token, points(1, 5))
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    first, second = (one.alert_id for one in await bench.history.alerts(job_id))
    for noted, delivery, tries, problem in (
        (first, AlertDelivery.PENDING, 1, "it answered 500"),
        (first, AlertDelivery.DELIVERED, 2, ""),
        (first, AlertDelivery.FAILED, 3, "of a sender that was late"),
        ("alert_of_another", AlertDelivery.FAILED, 1, "it does not exist"),
    ):
        await note(job_id, noted, delivery, tries, problem)
        assert await bench.reconciler.alerting_jobs() == [job_id]
    assert await delivered(bench, job_id) == [("delivered", 2, ""), ("pending", 0, "")]
    await note(job_id, second, AlertDelivery.FAILED, 3, "it answered 410")
    assert await bench.reconciler.alerting_jobs() == []
    assert (await delivered(bench, job_id))[1] == ("failed", 3, "it answered 410")
    await note(job_id, "", None)
    assert len(await fired(bench, job_id)) == 2
    await bench.jobs.delete(job_id)
    await note(job_id, first, AlertDelivery.DELIVERED)
    with pytest.raises(NotFoundError):
        await bench.history.alerts(job_id)


async def delivered(bench: Bench, job_id: str) -> list[tuple[str | None, int, str]]:
    alerts = await bench.history.alerts(job_id)
    return [(one.delivery, one.delivery_tries, one.delivery_problem) for one in alerts]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (BELOW, "loss is 0.125 at step 8, below 0.2, 3 points in a row"),
        (ABOVE, "lr is 0.125 at step 8, above 0.00045"),
        ({"when": "not_finite"}, "the loss is not finite at step 8"),
        ({"when": "stalled", "seconds": 600.0}, "no sign of life for 600 s at step 8"),
        ({"when": "failed"}, "the job has failed at step 8"),
        ({"when": "finished"}, "the job has finished at step 8"),
    ],
)
def test_an_alert_in_words(rule: dict[str, Any], text: str) -> None:
    assert alert_text(Alert(0, 8, 1, 0, 0.125), rule) == text


def test_rules_for_the_scripts() -> None:
    assert encode_rules([]) == ""
    (encoded,) = json.loads(encode_rules([ABOVE]))
    assert encoded["value"] == "0.00045"
    assert first_stall("") == math.inf
