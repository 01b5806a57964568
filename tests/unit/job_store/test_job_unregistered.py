"""A checkpoint that an attempt saved and did not register, and what else it left behind."""

from __future__ import annotations

from job_store_bench import Bench, checkpoint, new_job, points

from job_store.attempts import Unregistered
from job_store.records import Claimed, FencingToken, JobStatus, Outcome, OutcomeKind


async def lost(
    bench: Bench, *registered: int, kind: OutcomeKind = OutcomeKind.CRASHED
) -> FencingToken:
    """The token of an attempt that registered these steps and was killed at step 4."""
    _, token = await bench.in_state(JobStatus.RUNNING, registered)
    assert token is not None
    bench.attempts.publish_metrics(token, points(1, 4))
    bench.attempts.finish(token, Outcome(kind))
    return token


def claimed_with(bench: Bench, token: FencingToken, step: int, author: str = "") -> Claimed:
    """The next attempt's claim, by a worker that found a file of this step."""
    found = Unregistered(checkpoint(token, step), author or token.claim_id)
    attempt = bench.attempts.get(token.job_id).attempt
    claimed = bench.attempts.claim(token.job_id, attempt, "worker", unregistered=found)
    assert claimed is not None
    return claimed


def resumed_at(claimed: Claimed) -> int:
    return claimed.resume_from.step if claimed.resume_from else 0


async def test_it_is_registered_and_continued_from(bench: Bench) -> None:
    claimed = claimed_with(bench, await lost(bench, 2), 3)
    assert resumed_at(claimed) == 3
    page = await bench.jobs.list_checkpoints(claimed.record.job_id)
    assert [one.step for one in page.checkpoints] == [2, 3]


async def test_a_resume_without_a_choice_goes_on_from_it(bench: Bench) -> None:
    token = await lost(bench, 2)
    await bench.jobs.request_stop(token.job_id)
    for _ in range(2):  # the second time it is stopped while it waits, and resumed again
        resumed = await bench.jobs.resume(token.job_id)
        assert (resumed.resumed_from_step, resumed.message) == (2, "")
        await bench.jobs.request_stop(token.job_id)
    await bench.jobs.resume(token.job_id)
    claimed = claimed_with(bench, token, 3)
    assert (claimed.token.attempt, resumed_at(claimed)) == (5, 3)
    assert (claimed.record.resumed_from_step, claimed.record.current_step) == (3, 3)
    expected = "it continues from step 3, which attempt 1 had saved and not registered"
    assert claimed.record.message == expected
    page = await bench.history.page(token.job_id)
    assert [point.step for point in page.points] == [1, 2, 3]


async def test_so_it_is_after_a_failure(bench: Bench) -> None:
    token = await lost(bench, 2, kind=OutcomeKind.FAILED)
    await bench.jobs.resume(token.job_id)
    assert resumed_at(claimed_with(bench, token, 3)) == 3


async def test_a_choice_decides_until_an_attempt_is_claimed(bench: Bench) -> None:
    token = await lost(bench, 2)
    for found in (3, None):
        await bench.jobs.request_stop(token.job_id)
        await bench.jobs.resume(token.job_id, from_start=True)
        await bench.jobs.request_stop(token.job_id)
        waiting = await bench.jobs.resume(token.job_id)
        if found:
            claimed = claimed_with(bench, token, found)
        else:  # a file was not even looked for
            again = bench.attempts.claim(token.job_id, waiting.attempt, "worker")
            assert again is not None
            claimed = again
        assert (resumed_at(claimed), claimed.record.message) == (0, "")
        bench.attempts.finish(claimed.token, Outcome(OutcomeKind.CRASHED))
    assert (await bench.history.page(token.job_id)).points == ()


async def test_one_beyond_max_steps_is_left(bench: Bench) -> None:
    for saved, begins in ((4, 2), (3, 3)):
        token = await lost(bench, 2)
        await bench.jobs.request_stop(token.job_id)
        await bench.jobs.resume(token.job_id, max_steps=3)
        assert resumed_at(claimed_with(bench, token, saved)) == begins


async def test_the_last_claimed_attempt_is_known(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    assert await bench.jobs.last_claimed(job.job_id) == 0
    token = await lost(bench)
    await bench.jobs.request_stop(token.job_id)
    await bench.jobs.resume(token.job_id, from_start=True)
    assert await bench.jobs.last_claimed(token.job_id) == 1


async def test_one_that_is_not_newer_is_left(bench: Bench) -> None:
    claimed = claimed_with(bench, await lost(bench, 3), 2)
    page = await bench.jobs.list_checkpoints(claimed.record.job_id)
    assert [one.step for one in page.checkpoints] == [3]


async def test_one_of_a_worker_that_never_had_the_attempt_is_left(bench: Bench) -> None:
    token = await lost(bench, 2)
    assert resumed_at(claimed_with(bench, token, 3, "0123456789abcdef")) == 2


async def test_a_person_who_resumed_from_an_earlier_one_is_obeyed(bench: Bench) -> None:
    job, token = await bench.in_state(JobStatus.STOPPED, (1, 2))
    assert token is not None
    earliest = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints[0]
    await bench.jobs.resume(job.job_id, checkpoint_id=earliest.checkpoint_id)
    assert resumed_at(claimed_with(bench, token, 3)) == 1


async def test_what_the_attempt_before_left_is_looked_for_at_each_claim_but_the_first(
    bench: Bench,
) -> None:
    token = await lost(bench, 2)
    assert await bench.reconciler.due_sweeps(0) == [token.job_id]
    await bench.reconciler.swept(token.job_id)
    bench.attempts.claim(token.job_id, 2, "worker")
    assert await bench.reconciler.due_sweeps(0) == [token.job_id]
    fresh, _ = await bench.running()
    assert await bench.reconciler.due_sweeps(0) == [token.job_id], fresh.job_id
