"""Sweeps over a real channel, their children trained by workers that only pretend to train.

A child's validation loss is a formula of its values and the step, so that the right ranking is
known.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from failure import failure_of
from started import TINY
from test_config_and_records import record_of
from test_job_calls import checkpoint_of

from control_plane.server import ControlPlane
from control_plane.sweeps.children import Child
from control_plane.sweeps.driver import SweepDriver
from control_plane.sweeps.service import SweepServicer
from job_store.attempts import AttemptStore
from job_store.history_records import MetricPoint
from job_store.records import (
    FencingToken,
    JobError,
    JobFilter,
    JobRecord,
    JobStatus,
    Outcome,
    OutcomeKind,
)
from training_engine.v1 import job_pb2, sweep_pb2

CONFIG = TINY | {"max_steps": 90, "eval_steps": 10, "save_steps": 10}
RATES = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]
HALVING = {"first_rung": 10, "factor": 2}  # rungs end at 10, 20, 40, 80, 90
BEST_FIRST = [4, 5, 3, 6, 2, 1]


def loss(rate: float, step: int) -> float:
    """Best at 0.0042; never in the order of numbers."""
    return 2 + 100 * abs(rate - 0.0042) + 1 / step


def sweep_of(**asked: Any) -> sweep_pb2.StartSweepRequest:
    document = {"config": CONFIG, "parameters": {"learning_rate": RATES}} | asked
    return sweep_pb2.StartSweepRequest(
        document=json.dumps(document), dataset_path="corpus.txt", name="rates"
    )


class Workers:
    """Takes queued attempts in a random order; some of them die on the way."""

    def __init__(self, plane: ControlPlane, attempts: AttemptStore, seed: int = 1) -> None:
        self.state, self.attempts = plane.state, attempts
        self.chance = random.Random(seed)
        self.deaths = 0.0
        self.fails: Callable[[JobRecord], JobError | None] = lambda record: None
        self.most_at_once = 0

    async def work(self) -> None:
        """Do something with one queued job, if there is any."""
        page = await self.state.jobs.list(JobFilter(status=JobStatus.QUEUED))
        self.most_at_once = max(self.most_at_once, len(page.items))
        if not page.items:
            await asyncio.sleep(0.01)
            return
        job = self.chance.choice(page.items)
        claimed = self.attempts.claim(job.job_id, job.attempt, "worker-1")
        if claimed is not None:
            start = claimed.resume_from.step if claimed.resume_from else 0
            self.attempts.confirm_start(claimed.token, start)
            self._train(claimed.token, claimed.record, start)

    def _train(self, token: FencingToken, record: JobRecord, start: int) -> None:
        if (error := self.fails(record)) is not None:
            self.attempts.finish(token, Outcome(OutcomeKind.FAILED, error))
            return
        rate = json.loads(record.config_document)["learning_rate"]
        end = record.stop_at_step or record.max_steps
        for step in range(start + 10, end + 1, 10):
            if self.chance.random() < self.deaths:
                self.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
                return
            self.attempts.publish_metrics(
                token, [MetricPoint(step, {"val_loss": loss(rate, step)}, 0)]
            )
            self.attempts.register_checkpoint(token, checkpoint_of(token, step))
        kind = OutcomeKind.STOPPED if record.stop_at_step else OutcomeKind.SUCCEEDED
        self.attempts.finish(token, Outcome(kind))


async def get(stubs: Any, sweep_id: str) -> sweep_pb2.Sweep:
    request = sweep_pb2.GetSweepRequest(sweep_id=sweep_id)
    sweep: sweep_pb2.Sweep = (await stubs.sweeps.GetSweep(request)).sweep
    return sweep


async def until(
    stubs: Any, sweep_id: str, workers: Workers, wanted: Callable[[sweep_pb2.Sweep], bool]
) -> sweep_pb2.Sweep:
    deadline = time.monotonic() + 60
    while not wanted(sweep := await get(stubs, sweep_id)):
        assert time.monotonic() < deadline, sweep
        await workers.work()
    return sweep


def is_over(sweep: sweep_pb2.Sweep) -> bool:
    return sweep.status != sweep_pb2.SWEEP_STATUS_RUNNING


def by_rank(sweep: sweep_pb2.Sweep) -> list[int]:
    return [child.number for child in sorted(sweep.children, key=lambda each: each.rank)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_ranking_is_the_same_in_any_order_of_events(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore, seed: int
) -> None:
    started = (await stubs.sweeps.StartSweep(sweep_of(halving=HALVING, max_parallel=3))).sweep
    workers = Workers(plane, attempts, seed)
    workers.deaths = 0.2 * (seed - 1)
    rivals = [asyncio.create_task(drive_too(plane)) for _ in range(seed - 1)]
    sweep = await until(stubs, started.sweep_id, workers, is_over)
    for rival in rivals:
        rival.cancel()
    assert sweep.status == sweep_pb2.SWEEP_STATUS_SUCCEEDED
    assert by_rank(sweep) == BEST_FIRST
    assert [(child.number, child.rung) for child in sweep.children] == [
        (1, 1), (2, 1), (3, 2), (4, 5), (5, 2), (6, 1)
    ]  # fmt: skip
    assert (sweep.best_child, list(sweep.rung_steps)) == (4, [10, 20, 40, 80])
    assert workers.most_at_once <= 3
    best = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=sweep.best_job_id))).job
    assert (best.name, best.status, best.sweep_child) == (
        "rates/4",
        job_pb2.JOB_STATUS_SUCCEEDED,
        4,
    )
    pruned = {child.number: child for child in sweep.children}[1]
    assert (pruned.status, pruned.current_step) == (job_pb2.JOB_STATUS_STOPPED, 10)
    assert pruned.score == pytest.approx(loss(0.001, 10))
    (of_rate,) = sweep.importance
    assert 0 <= of_rate.value <= 1
    jobs = (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    assert len(jobs) == 6
    steps = sum(child.current_step for child in sweep.children)
    assert steps / (6 * 90) <= 0.4


async def drive_too(plane: ControlPlane) -> None:
    """A second control plane that believes it leads."""
    while True:
        await SweepDriver(plane.state).look()
        await asyncio.sleep(0.005)


async def test_stop_resume_and_delete_act_on_all_children(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    request = sweep_of(max_parallel=2)
    request.request_id = "once"
    sweep_id = (await stubs.sweeps.StartSweep(request)).sweep.sweep_id
    assert (await stubs.sweeps.StartSweep(request)).sweep.sweep_id == sweep_id
    workers = Workers(plane, attempts)

    def third_waits(sweep: sweep_pb2.Sweep) -> bool:
        started = [c.status for c in sweep.children if c.HasField("job_id")]
        return len(started) >= 3 and job_pb2.JOB_STATUS_QUEUED in started

    sweep = await until(stubs, sweep_id, workers, third_waits)
    child = next(c for c in sweep.children if c.status == job_pb2.JOB_STATUS_QUEUED)
    refused = await failure_of(stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=child.job_id)))
    assert refused.reason == "STATE_FORBIDS"
    assert f"stop the whole sweep, {sweep_id}" in refused.message
    delete = sweep_pb2.DeleteSweepRequest(sweep_id=sweep_id, request_id="gone")
    assert (await failure_of(stubs.sweeps.DeleteSweep(delete))).reason == "STATE_FORBIDS"
    stop = sweep_pb2.StopSweepRequest(sweep_id=sweep_id)
    await stubs.sweeps.StopSweep(stop)
    assert "sweep swp_" in (await failure_of(stubs.sweeps.StopSweep(stop))).message
    ended = (job_pb2.JOB_STATUS_STOPPED, job_pb2.JOB_STATUS_SUCCEEDED)
    sweep = await get(stubs, sweep_id)
    a_child = sweep.children[0].job_id
    for call, asked in (
        (stubs.jobs.ResumeJob, job_pb2.ResumeJobRequest(job_id=a_child)),
        (stubs.jobs.DeleteJob, job_pb2.DeleteJobRequest(job_id=a_child)),
    ):
        assert "is a child of a stopped sweep" in (await failure_of(call(asked))).message
    assert all(c.status in ended for c in sweep.children if c.HasField("job_id"))
    await stubs.sweeps.ResumeSweep(sweep_pb2.ResumeSweepRequest(sweep_id=sweep_id))
    sweep = await until(stubs, sweep_id, workers, is_over)
    assert by_rank(sweep) == BEST_FIRST
    assert {c.status for c in sweep.children} == {job_pb2.JOB_STATUS_SUCCEEDED}
    listed = (await stubs.sweeps.ListSweeps(sweep_pb2.ListSweepsRequest())).sweeps
    assert [(one.sweep_id, one.best_child, len(one.children)) for one in listed] == [
        (sweep_id, 4, 0)
    ]
    await stubs.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=a_child))
    without = await get(stubs, sweep_id)
    assert by_rank(without) == BEST_FIRST
    assert not without.children[0].HasField("job_id")
    best = job_pb2.DeleteJobRequest(job_id=without.best_job_id)
    await stubs.jobs.DeleteJob(best)
    bereft = await get(stubs, sweep_id)
    assert (bereft.best_child, bereft.HasField("best_job_id")) == (4, False)
    for _ in range(2):
        await stubs.sweeps.DeleteSweep(delete)
    assert not (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    gone = await failure_of(stubs.sweeps.GetSweep(sweep_pb2.GetSweepRequest(sweep_id=sweep_id)))
    assert gone.reason == "SWEEP_NOT_FOUND"


async def test_a_deletion_that_two_processes_carry_out_leaves_nothing(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    sweep_id = (await stubs.sweeps.StartSweep(sweep_of())).sweep.sweep_id
    await until(stubs, sweep_id, Workers(plane, attempts), is_over)
    rivals = [asyncio.create_task(drive_too(plane)) for _ in range(3)]
    await stubs.sweeps.DeleteSweep(sweep_pb2.DeleteSweepRequest(sweep_id=sweep_id))
    left = (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    assert not any(rival.done() for rival in rivals)
    for rival in rivals:
        rival.cancel()
    assert not left


async def test_a_failure_of_the_values_ranks_last_and_another_one_stops_the_sweep(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    started = (await stubs.sweeps.StartSweep(sweep_of(halving=HALVING))).sweep
    workers = Workers(plane, attempts)
    reasons = {4: "NON_FINITE_LOSS", 5: "DISK_FULL"}

    def fails(record: JobRecord) -> JobError | None:
        reason = reasons.get(record.sweep_child)
        return JobError(reason, "so it is") if reason else None

    workers.fails = fails
    sweep = await until(stubs, started.sweep_id, workers, is_over)
    assert sweep.status == sweep_pb2.SWEEP_STATUS_STOPPED
    assert sweep.message == "child 5 failed: so it is; cure the cause and resume the sweep"
    del reasons[5]
    while started.sweep_id in await plane.state.sweeps.open():
        await SweepDriver(plane.state).look()  # until nothing is left to stop
    record = await plane.state.sweeps.get(started.sweep_id)
    await SweepServicer(plane.state)._resume_failed(record)  # and then its process dies
    await SweepDriver(plane.state).look()
    left = (await get(stubs, started.sweep_id)).children[4]
    assert left.status == job_pb2.JOB_STATUS_STOPPED
    await stubs.sweeps.ResumeSweep(sweep_pb2.ResumeSweepRequest(sweep_id=started.sweep_id))
    sweep = await until(stubs, started.sweep_id, workers, is_over)
    assert by_rank(sweep) == [5, 3, 6, 2, 1, 4]


@pytest.mark.parametrize(
    ("reason", "values", "expected"),
    [
        ("NON_FINITE_LOSS", {"learning_rate": 1e9}, True),
        ("INVALID_DATA", {"learning_rate": 1e-3, "seed": 2}, False),  # they are away, for all
        ("INVALID_DATA", {"dataset_path": "b.txt"}, True),
        ("INVALID_DATA", {"data.sources": []}, True),
        ("INVALID_DATA", {"model_config": {"vocab_size": 9}}, True),
        ("INVALID_DATA", {"database": 1}, False),
        ("DISK_FULL", {"dataset_path": "b.txt"}, False),
    ],
)
def test_what_a_childs_values_are_to_blame_for(
    reason: str, values: dict[str, Any], expected: bool
) -> None:
    failed = record_of(error=JobError(reason, "so it is"), sweep_values=json.dumps(values))
    assert Child(1, "job_1", failed).failed_by_values == expected


async def test_a_sweep_that_cannot_be_driven_holds_up_no_other(
    plane: ControlPlane, stubs: Any
) -> None:
    broken = (await stubs.sweeps.StartSweep(sweep_of())).sweep.sweep_id
    await plane.state.connection.command("HSET", f"te:sweep:{broken}", "document", "{}")
    whole = (await stubs.sweeps.StartSweep(sweep_of())).sweep.sweep_id
    assert sorted([broken, whole]) == [broken, whole]  # the order in which they are driven
    with pytest.raises(KeyError, match="children"):
        await SweepDriver(plane.state).look()
    assert await plane.state.sweeps.children(whole)


async def test_a_sweep_without_any_score_says_so(
    plane: ControlPlane, stubs: Any, attempts: AttemptStore
) -> None:
    started = (await stubs.sweeps.StartSweep(sweep_of(halving=HALVING))).sweep
    workers = Workers(plane, attempts)
    workers.fails = lambda record: JobError("NON_FINITE_LOSS", "so it is")
    sweep = await until(stubs, started.sweep_id, workers, is_over)
    assert sweep.status == sweep_pb2.SWEEP_STATUS_SUCCEEDED
    assert not sweep.HasField("best_child")
    assert "no child has a finite val_loss at the end of rung 1" in sweep.message


async def test_a_sweep_that_cannot_be_is_refused_by_field(stubs: Any) -> None:
    async def refused(request: sweep_pb2.StartSweepRequest) -> dict[str, str]:
        return dict((await failure_of(stubs.sweeps.StartSweep(request))).fields)

    assert set(await refused(sweep_of(config=None))) == {"config"}
    assert set(await refused(sweep_of(config="base.yaml"))) == {"config"}
    assert set(await refused(sweep_of(execution={"prio": 1}))) == {"execution.prio"}
    blind = await refused(sweep_of(config=CONFIG | {"val_fraction": 0.0}))
    assert "no validation data to measure it on" in blind["children[1].metric"]
    assert set(await refused(sweep_of(execution={"max_retries": -1}))) == {"execution.max_retries"}
    missing = sweep_of(parameters={"dataset_path": ["corpus.txt", "nowhere.txt"]})
    missing.dataset_path = ""
    assert set(await refused(missing)) == {"children[2].dataset_path"}
    text = sweep_pb2.StartSweepRequest(document="[1]")
    assert set(await refused(text)) == {"document"}
    assert not (await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
