"""Records of sweeps: who changes them, and jobs that are their children."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_store_bench import LOST, Bench, new_job, points

from job_store.alerts import encode_rules
from job_store.errors import NotFoundError, RecordVersionError, TransitionRefusedError
from job_store.ids import new_id
from job_store.records import (
    JobStatus,
    NewJob,
    Outcome,
    OutcomeKind,
    Request,
    SweepStatus,
)

RUNG = {"scores": {"1": 0.5}, "kept": [1]}


def child(sweep_id: str, number: int = 1) -> NewJob:
    return replace(new_job(name="rates/1"), sweep_id=sweep_id, sweep_child=number)


async def stopped(bench: Bench, sweep_id: str, request: Request | None = None) -> SweepStatus:
    running = [SweepStatus.RUNNING]
    moved = await bench.sweeps.move(sweep_id, "stop", SweepStatus.STOPPED, running, request=request)
    return moved.status


async def test_a_child_is_made_once_and_only_while_its_sweep_runs(bench: Bench) -> None:
    sweep = await bench.sweeps.create("rates", "{}")
    first = await bench.jobs.create(child(sweep.sweep_id))
    again = await bench.jobs.create(child(sweep.sweep_id))
    assert (again.job_id, again.name) == (first.job_id, "rates/1")
    assert await bench.sweeps.children(sweep.sweep_id) == {1: first.job_id}
    with pytest.raises(NotFoundError, match="sweep"):
        await bench.jobs.create(child(new_id("sweep")))
    await stopped(bench, sweep.sweep_id)
    with pytest.raises(TransitionRefusedError, match="stopped, which does not allow to start a"):
        await bench.jobs.create(child(sweep.sweep_id, 2))
    assert await bench.jobs.count() == 1


async def test_a_child_is_resumed_by_who_drives_its_sweep_only_while_that_runs(
    bench: Bench,
) -> None:
    sweep_id = (await bench.sweeps.create("rates", "{}")).sweep_id
    job = await bench.jobs.create(child(sweep_id))
    bench.attempts.finish(bench.claim(job), Outcome(OutcomeKind.FAILED, LOST))
    await stopped(bench, sweep_id)
    with pytest.raises(TransitionRefusedError, match="stopped, which does not allow to resume a "):
        await bench.jobs.resume(job.job_id, sweep_id=sweep_id)
    with pytest.raises(TransitionRefusedError, match=r"sweep swp_\w+ is deleted"):
        await bench.jobs.resume(job.job_id, sweep_id=new_id("sweep"))
    again = [SweepStatus.STOPPED]
    await bench.sweeps.move(sweep_id, "resume", SweepStatus.RUNNING, again)
    resumed = await bench.jobs.resume(job.job_id, sweep_id=sweep_id)
    assert (resumed.status, resumed.attempt) == (JobStatus.QUEUED, 2)


async def test_a_sweep_is_given_up_only_while_its_child_has_failed(bench: Bench) -> None:
    sweep_id = (await bench.sweeps.create("rates", "{}")).sweep_id
    job = await bench.jobs.create(child(sweep_id))
    failed = bench.attempts.finish(bench.claim(job), Outcome(OutcomeKind.FAILED, LOST))
    give_up, why = bench.sweeps.give_up, "child 1 failed"
    await bench.jobs.resume(job.job_id)  # by a person who has cured the cause
    assert await give_up(sweep_id, why, job.job_id, failed.attempt) is None
    assert await give_up(sweep_id, why, job.job_id, 2) is None, "it waits"
    again = bench.claim(await bench.jobs.get(job.job_id))
    bench.attempts.finish(again, Outcome(OutcomeKind.FAILED, LOST))
    assert await give_up(sweep_id, why, job.job_id, failed.attempt) is None
    assert await bench.sweeps.status_of(sweep_id) is SweepStatus.RUNNING
    stopped_by_it = await give_up(sweep_id, why, job.job_id, 2)
    assert stopped_by_it is not None
    assert (stopped_by_it.status, stopped_by_it.message) == (SweepStatus.STOPPED, why)
    with pytest.raises(TransitionRefusedError):
        await give_up(sweep_id, why)


async def test_a_rung_is_decided_once(bench: Bench) -> None:
    id = (await bench.sweeps.create("rates", "{}")).sweep_id
    decided = await bench.sweeps.decide(id, [RUNG], is_last=False)
    assert decided is not None
    assert decided.rungs == '[{"scores": {"1": 0.5}, "kept": [1]}]'
    assert await bench.sweeps.decide(id, [RUNG], is_last=False) is None
    assert not [
        name for name in bench.worker.command("HKEYS", f"te:sweep:{id}") if b"asked" in name
    ]
    last = await bench.sweeps.decide(id, [RUNG, RUNG], is_last=True)
    assert last is not None
    assert last.status is SweepStatus.SUCCEEDED
    with pytest.raises(TransitionRefusedError):
        await bench.sweeps.decide(id, [RUNG], is_last=False)


async def test_a_repeated_change_gets_its_first_answer(bench: Bench) -> None:
    id = (await bench.sweeps.create("rates", "{}")).sweep_id
    request = Request("once", "body")
    for _ in range(2):
        assert await stopped(bench, id, request) is SweepStatus.STOPPED
    with pytest.raises(TransitionRefusedError, match=r"sweep swp_\w+ is stopped"):
        await stopped(bench, id)
    with pytest.raises(NotFoundError):
        await stopped(bench, new_id("sweep"))
    bench.worker.command("HSET", f"te:sweep:{id}", "v", "99")
    with pytest.raises(RecordVersionError):
        await stopped(bench, id)


async def test_a_deleted_sweep_leaves_nothing(bench: Bench) -> None:
    sweep_id = (await bench.sweeps.create("rates", "{}")).sweep_id
    await bench.jobs.create(child(sweep_id))
    assert await bench.sweeps.open() == [sweep_id]
    await bench.sweeps.settle(sweep_id, SweepStatus.STOPPED)  # it was resumed in between
    assert await bench.sweeps.open() == [sweep_id]
    await bench.sweeps.settle(sweep_id, SweepStatus.RUNNING)
    assert await bench.sweeps.open() == []
    await bench.sweeps.delete(sweep_id)
    assert bench.worker.command("KEYS", "te:sweep*") == []
    assert await bench.sweeps.status_of(sweep_id) is None


async def test_rules_fire_once_over_the_rungs_of_a_child_and_anew_after_a_persons_stop(
    bench: Bench,
) -> None:
    sweep_id = (await bench.sweeps.create("rates", "{}")).sweep_id
    rules = [
        {"when": "above", "metric": "lr", "value": 1.5e-4},
        {"when": "above", "metric": "lr", "value": 0.0, "points": 6},
    ]
    new = replace(child(sweep_id), stop_at_step=4, alert_rules=encode_rules(rules))
    job = await bench.jobs.create(new)
    token = bench.claim(job)

    async def fired() -> list[tuple[int, int, int]]:
        alerts = await bench.history.alerts(job.job_id)
        return [(one.rule, one.step, one.attempt) for one in alerts]

    bench.attempts.publish_metrics(token, points(1, 4))
    bench.checkpoint(token, 4)
    bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    resumed = await bench.jobs.resume(job.job_id, stop_at_step=8, sweep_id=sweep_id)
    token = bench.claim(resumed)
    bench.attempts.publish_metrics(token, points(5, 7))
    assert await fired() == [(0, 2, 1), (1, 6, 2)]  # six points in a row, over both rungs
    await bench.jobs.request_stop(job.job_id)
    bench.checkpoint(token, 7)
    bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    resumed = await bench.jobs.resume(job.job_id, stop_at_step=8, sweep_id=sweep_id)
    bench.attempts.publish_metrics(bench.claim(resumed), points(8, 8))
    assert await fired() == [(0, 2, 1), (1, 6, 2), (0, 8, 3)]


async def test_a_child_stops_by_itself_where_it_is_to_and_not_before(bench: Bench) -> None:
    job = await bench.jobs.create(replace(new_job(), stop_at_step=5))
    token = bench.claim(job)
    bench.checkpoint(token, 4)
    with pytest.raises(TransitionRefusedError, match="no stop was requested"):
        bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    bench.checkpoint(token, 5)
    paused = bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    assert (paused.status, paused.stop_at_step) == (JobStatus.STOPPED, 5)
    assert (await bench.jobs.resume(job.job_id, stop_at_step=9)).stop_at_step == 9
    assert (await bench.jobs.request_stop(job.job_id)).stop_at_step is None
