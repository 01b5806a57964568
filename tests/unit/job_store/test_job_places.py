"""Places in an attempt: workers that train it together with the one that has claimed it."""

from __future__ import annotations

import pytest
from job_store_bench import LOST, Bench, new_job

from job_store.attempts import PLACE_DONE, PLACE_LOST
from job_store.errors import FencedError, RecordVersionError
from job_store.records import FencingToken, JobError, Outcome, OutcomeKind

TOO_FEW = JobError("WORKER_LOST", "1 of 2 workers came within 12 s")


async def test_a_place_is_taken_once_and_only_while_the_attempt_is_held(bench: Bench) -> None:
    job, token = await bench.running()
    stale = FencingToken(job.job_id, 1, "0123456789abcdef")
    assert bench.attempts.take_place(stale, 1, "a") is None
    taken = bench.attempts.take_place(token, 1, "a")
    assert taken is not None
    assert (taken.record.claim_id, taken.token) == (token.claim_id, token)
    assert bench.attempts.take_place(token, 1, "a") is not None  # its answer was lost
    assert bench.attempts.take_place(token, 1, "b") is None
    assert bench.attempts.places(job.job_id) == {1: 0}
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    assert bench.attempts.take_place(token, 2, "b") is None
    assert bench.attempts.places(job.job_id) == {}


async def test_a_place_is_renewed_until_the_attempt_is_over(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.take_place(token, 1, "a")
    assert bench.attempts.work_of_places(job.job_id) == 0
    bench.attempts.renew_place(token, 1, has_worked=False)
    assert not bench.attempts.renew_place(token, 1, has_worked=True).stop_requested
    assert bench.attempts.work_of_places(job.job_id) == 1
    assert bench.attempts.places(job.job_id) == {1: 2}
    await bench.jobs.request_stop(job.job_id)
    assert bench.attempts.renew_place(token, 1, has_worked=False).stop_requested
    await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    with pytest.raises(FencedError):
        bench.attempts.renew_place(token, 1, has_worked=False)
    assert bench.attempts.places(job.job_id) == {}


async def test_a_place_whose_processes_end_first_says_how(bench: Bench) -> None:
    job, token = await bench.running()
    for place, end in ((1, PLACE_DONE), (2, PLACE_LOST)):
        bench.attempts.take_place(token, place, "a")
        bench.attempts.renew_place(token, place, has_worked=True)
        bench.attempts.leave_place(token, place, end)
    assert bench.attempts.places(job.job_id) == {1: PLACE_DONE, 2: PLACE_LOST}
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    with pytest.raises(FencedError):
        bench.attempts.leave_place(token, 1, PLACE_LOST)


async def test_a_renewal_that_comes_behind_the_end_of_its_place_changes_nothing(
    bench: Bench,
) -> None:
    job, token = await bench.running()
    for place, end in ((1, PLACE_DONE), (2, PLACE_LOST)):
        bench.attempts.take_place(token, place, "a")
        bench.attempts.leave_place(token, place, end)
        late = bench.attempts.renew_place(token, place, has_worked=True)
        assert not late.stop_requested
    assert bench.attempts.places(job.job_id) == {1: PLACE_DONE, 2: PLACE_LOST}
    assert bench.attempts.work_of_places(job.job_id) == 0


async def test_a_record_of_another_version_is_left_alone(bench: Bench) -> None:
    job, token = await bench.running()
    bench.worker.command("HSET", f"te:job:{job.job_id}", "v", "2")
    with pytest.raises(RecordVersionError):
        bench.attempts.take_place(token, 1, "a")


async def test_an_attempt_that_lacks_workers_waits_for_the_pause(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK, TOO_FEW))
    waiting = await bench.jobs.get(job.job_id)
    assert (waiting.attempt, waiting.consecutive_failures) == (2, 0)
    assert waiting.message == TOO_FEW.message
    assert [one.job_id for one in await bench.reconciler.delayed_retries()] == [job.job_id]
    assert await bench.jobs.jobs_lacking_message() == []


async def test_a_waiting_job_says_why_once(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    other, _ = await bench.running()
    unreadable = await bench.jobs.create(new_job())
    bench.worker.command("HSET", f"te:job:{unreadable.job_id}", "v", "2")
    say = bench.reconciler.say_waiting
    await say(job.job_id, 1, "waits")
    events = bench.worker.command("XLEN", f"te:job:{job.job_id}:events")
    for id, attempt in ((job.job_id, 1), (other.job_id, 1), (unreadable.job_id, 1)):
        await say(id, attempt, "waits")
    await say(job.job_id, 2, "of an attempt that is not")
    assert bench.worker.command("XLEN", f"te:job:{job.job_id}:events") == events
    assert (await bench.jobs.get(job.job_id)).message == "waits"
    assert (await bench.jobs.get(other.job_id)).message == ""
    assert bench.worker.command("HGET", f"te:job:{unreadable.job_id}", "message") == b""
