"""Requests and messages that come twice, and writers that come too late."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from importlib import resources

import pytest
from job_store_bench import LOST, Bench, new_job, points

from job_store.catalog import ConfigStore
from job_store.errors import FencedError, NotFoundError, RequestIdReusedError
from job_store.history_records import LogLine
from job_store.records import JobStatus, Outcome, OutcomeKind, Phase, PhaseProgress, Request


async def test_a_repeated_create_gives_the_first_answer(bench: Bench) -> None:
    request = Request.of("Łódź / 1\n", "StartJob", b"body")
    first = await bench.jobs.create(new_job(), request)
    bench.claim(first)
    assert await bench.jobs.create(new_job(), request) == first
    assert await bench.jobs.count() == 1
    other = Request.of("Łódź / 1\n", "StartJob", b"another body")
    with pytest.raises(RequestIdReusedError, match="was already used for another request"):
        await bench.jobs.create(new_job(), other)


async def test_the_same_id_for_another_method_is_refused(bench: Bench) -> None:
    job = await bench.jobs.create(new_job(), Request.of("r", "StartJob", b""))
    with pytest.raises(RequestIdReusedError):
        await bench.jobs.request_stop(job.job_id, Request.of("r", "StopJob", b""))
    assert (await bench.jobs.get(job.job_id)).status is JobStatus.QUEUED


async def test_concurrent_creates_with_one_request_make_one_job(bench: Bench) -> None:
    request = Request.of("once", "StartJob", b"body")
    jobs = await asyncio.gather(*[bench.jobs.create(new_job(), request) for _ in range(20)])
    assert len({job.job_id for job in jobs}) == 1
    assert await bench.jobs.count() == 1


async def test_repeated_mutations_act_once(bench: Bench) -> None:
    job, _ = await bench.in_state(JobStatus.STOPPED, checkpoints=[10])
    request = Request.of("resume", "ResumeJob", b"")
    first = await bench.jobs.resume(job.job_id, request=request)
    bench.claim(first)
    assert await bench.jobs.resume(job.job_id, request=request) == first
    assert (await bench.jobs.get(job.job_id)).attempt == 2
    stop = Request.of("stop", "StopJob", b"")
    stopping = await bench.jobs.request_stop(job.job_id, stop)
    assert await bench.jobs.request_stop(job.job_id, stop) == stopping


async def test_a_repeated_delete_succeeds_again(bench: Bench) -> None:
    job, _ = await bench.in_state(JobStatus.STOPPED, checkpoints=[10])
    (kept,) = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints
    request = Request.of("rm checkpoint", "DeleteCheckpoint", b"")
    await bench.jobs.delete_checkpoint(kept.checkpoint_id, request)
    await bench.jobs.delete_checkpoint(kept.checkpoint_id, request)
    with pytest.raises(NotFoundError):
        await bench.jobs.delete_checkpoint(kept.checkpoint_id)
    request = Request.of("rm", "DeleteJob", b"")
    await bench.jobs.delete(job.job_id, request)
    await bench.jobs.delete(job.job_id, request)
    with pytest.raises(NotFoundError):
        await bench.jobs.delete(job.job_id)


async def test_request_memory_lasts_a_day(bench: Bench) -> None:
    configs = ConfigStore(bench.connection)
    await configs.create("c", "{}", Request.of("id", "CreateConfig", b""))
    (memo,) = bench.worker.command("KEYS", "te:request:*")
    remaining = bench.worker.command("PTTL", memo)
    assert 86_300_000 < remaining <= 86_400_000


async def test_a_message_delivered_twice_is_claimed_once(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    assert bench.attempts.claim(job.job_id, 2, "worker-1") is None  # not yet
    first = bench.attempts.claim(job.job_id, 1, "worker-1", "claim-a")
    assert first is not None
    assert bench.attempts.claim(job.job_id, 1, "worker-2", "claim-b") is None
    # The same claim again is a repetition by the connection, whose first answer was lost.
    again = bench.attempts.claim(job.job_id, 1, "worker-1", "claim-a")
    assert again == first
    record = bench.attempts.finish(first.token, Outcome(OutcomeKind.CRASHED, LOST))
    assert bench.attempts.claim(job.job_id, 1, "worker-2") is None  # stale
    assert record.attempt == 2


async def test_a_repeated_finish_gives_the_first_answer(bench: Bench) -> None:
    _, token = await bench.running()
    outcome = Outcome(OutcomeKind.SUCCEEDED)
    first = bench.attempts.finish(token, outcome)
    assert bench.attempts.finish(token, outcome) == first
    with pytest.raises(FencedError):
        bench.attempts.finish(token, Outcome(OutcomeKind.FAILED, LOST))
    with pytest.raises(FencedError):
        bench.attempts.finish(replace(token, claim_id="0123456789abcdef"), outcome)


async def test_a_zombie_changes_nothing(bench: Bench) -> None:
    job, zombie = await bench.running()
    bench.attempts.publish_metrics(zombie, points(1, 5))
    record = await bench.reconciler.declare_lost(job.job_id, 1, zombie.claim_id, LOST)
    assert record is not None
    bench.claim(record)
    before = await bench.jobs.get(job.job_id)
    attempts = bench.attempts.attempts(job.job_id)
    for write in (
        lambda: bench.attempts.publish_metrics(zombie, points(6, 9)),
        lambda: bench.attempts.append_logs(zombie, [LogLine(0, "boo", 1)]),
        lambda: bench.attempts.report_progress(zombie, 9, Phase.TRAINING),
        lambda: bench.attempts.renew_lease(zombie),
        lambda: bench.attempts.confirm_start(zombie, 0),
        lambda: bench.checkpoint(zombie, 9),
        lambda: bench.attempts.finish(zombie, Outcome(OutcomeKind.SUCCEEDED)),
    ):
        with pytest.raises(
            FencedError, match=r"attempt 1 of job .* no longer owns the job"
        ) as caught:
            write()
        assert caught.value.attempt == 1
    assert await bench.jobs.get(job.job_id) == before
    assert bench.attempts.attempts(job.job_id) == attempts


async def test_a_deleted_job_fences_its_zombie(bench: Bench) -> None:
    job, token = await bench.in_state(JobStatus.STOPPED)
    assert token is not None
    await bench.jobs.delete(job.job_id)
    with pytest.raises(FencedError, match="the job was deleted"):
        bench.attempts.publish_metrics(token, points(1, 2))
    assert bench.worker.command("KEYS", f"te:job:{job.job_id}*") == []


async def test_duplicate_points_and_lines_count_as_delivered(bench: Bench) -> None:
    job, token = await bench.running()
    assert bench.attempts.publish_metrics(token, points(1, 10)).duplicates == 0
    again = bench.attempts.publish_metrics(token, points(5, 12, offset=9.0))
    assert (again.delivered, again.duplicates) == (8, 6)
    page = await bench.history.page(job.job_id)
    assert [(p.step, p.values["loss"]) for p in page.points] == [
        *((s, 1 / s) for s in range(1, 11)),
        *((s, 1 / s + 9.0) for s in (11, 12)),
    ]
    lines = [LogLine(i, f"line {i}", 5) for i in range(4)]
    bench.attempts.append_logs(token, lines[:3])
    assert bench.attempts.append_logs(token, lines).duplicates == 3
    assert await bench.history.log_tail(job.job_id) == "line 0\nline 1\nline 2\nline 3"


async def test_the_message_of_an_attempt_is_tracked(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    (waiting,) = await bench.jobs.jobs_lacking_message()
    assert (waiting.job_id, waiting.attempt, waiting.is_sent) == (job.job_id, 1, False)
    await bench.jobs.mark_enqueued(job.job_id, 2)
    assert len(await bench.jobs.jobs_lacking_message()) == 1
    await bench.jobs.mark_enqueued(job.job_id, 1)
    assert await bench.jobs.jobs_lacking_message() == []
    (queued,) = await bench.reconciler.queued_attempts()
    assert queued.is_sent
    assert await bench.jobs.request_message(job.job_id, 1) is True
    assert len(await bench.jobs.jobs_lacking_message()) == 1
    bench.claim(job)
    assert await bench.jobs.jobs_lacking_message() == []
    assert await bench.jobs.request_message(job.job_id, 1) is False


async def test_the_reconciler_sees_leases_and_progress(bench: Bench) -> None:
    job, token = await bench.running()
    for _ in range(3):
        bench.attempts.renew_lease(token)
    bench.attempts.report_progress(token, 7, Phase.VALIDATING, tokens_seen=7000)
    (seen,) = await bench.reconciler.running_attempts()
    assert (seen.job_id, seen.claim_id) == (job.job_id, token.claim_id)
    assert (seen.lease_count, seen.current_step, seen.phase) == (3, 7, Phase.VALIDATING)
    assert seen.stall_timeout_seconds == 600.0
    assert (await bench.jobs.get(job.job_id)).tokens_seen == 7000
    bench.attempts.report_progress(token, 7, Phase.VALIDATING, eta_seconds=3.0)
    assert (await bench.reconciler.running_attempts())[0].sign_of_life == seen.sign_of_life
    record = await bench.jobs.get(job.job_id)
    assert (record.eta_seconds, record.phase_progress) == (3.0, (0, 0, 0.0))


async def test_each_change_alone_is_noted_with_its_time(bench: Bench) -> None:
    job, token = await bench.running()
    key = f"te:job:{job.job_id}"
    reported = [
        ((1, Phase.TRAINING), True),
        ((1, Phase.TRAINING), False),
        ((2, Phase.TRAINING), True),
        ((2, Phase.SAVING), True),
        ((2, Phase.SAVING, 500), False),
        ((2, Phase.SAVING, 0, 1), True),
        ((2, Phase.SAVING, 0, 1, PhaseProgress(1, 2, 0.5)), True),
        ((1, Phase.SAVING, 0, 1, PhaseProgress(1, 2, 0.5)), False),  # comes late
    ]
    for report, is_change in reported:
        bench.worker.command("HSET", key, "progress_at", 0)
        bench.attempts.report_progress(token, *report)
        assert (bench.worker.command("HGET", key, "progress_at") != b"0") == is_change, report
    record = await bench.jobs.get(job.job_id)
    assert (record.current_step, record.tokens_seen) == (2, 500)


async def test_points_that_come_behind_the_progress_take_nothing_back(bench: Bench) -> None:
    job, token = await bench.running()
    (first,) = points(1, 1)
    first = replace(first, values=dict(first.values) | {"tokens_seen": 100.0})
    bench.attempts.publish_metrics(token, [first])
    assert (await bench.jobs.get(job.job_id)).current_step == 1
    bench.attempts.report_progress(token, 7, Phase.TRAINING)
    bench.attempts.publish_metrics(token, points(2, 5))  # they do not say how many tokens
    record = await bench.jobs.get(job.job_id)
    assert (record.current_step, record.tokens_seen) == (7, 100)


async def test_the_newest_line_is_one_of_the_newest_attempt_that_printed(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.append_logs(token, [LogLine(0, "first", 0), LogLine(1, "second", 0)])
    record = await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    assert record is not None
    token = bench.claim(record)

    def newest() -> bytes:
        return bytes(bench.worker.command("HGET", f"te:job:{job.job_id}", "last_log"))

    bench.attempts.append_logs(token, [])
    assert newest() == b"1:1"
    bench.attempts.append_logs(token, [LogLine(0, "of the second attempt", 0)])
    bench.attempts.append_logs(token, [LogLine(2, "that was late", 0)], of_attempt=1)
    assert newest() == b"2:0"


async def test_each_batch_of_a_validation_is_a_sign_of_life(bench: Bench) -> None:
    job, token = await bench.running()
    seen = []
    for done in (0, 1, 1, 2):
        shown = PhaseProgress(done, 80, 2.5)
        bench.attempts.report_progress(token, 7, Phase.VALIDATING, done=shown)
        assert (await bench.jobs.get(job.job_id)).phase_progress == shown
        seen.append((await bench.reconciler.running_attempts())[0].sign_of_life)
    assert seen[1] == seen[2]
    assert len(set(seen)) == 3


async def test_a_record_of_an_earlier_version_has_no_count_and_no_eta(bench: Bench) -> None:
    job, token = await bench.running()
    bench.worker.command("HSET", f"te:job:{job.job_id}", "phase_progress", "3/80")
    assert (await bench.jobs.get(job.job_id)).phase_progress == (3, 80, 0.0)  # an older worker's
    bench.worker.command("HDEL", f"te:job:{job.job_id}", "phase_progress", "eta_ms")
    record = await bench.jobs.get(job.job_id)
    assert (record.phase_progress, record.eta_seconds) == ((0, 0, 0.0), None)
    bench.attempts.report_progress(token, 1, Phase.TRAINING, eta_seconds=None)
    assert (await bench.jobs.get(job.job_id)).eta_seconds is None


async def test_one_leader_at_a_time(bench: Bench) -> None:
    store = bench.reconciler
    assert await store.acquire_leadership("a", 30) == (True, "")
    assert await store.acquire_leadership("b", 30) == (False, "a:1")
    assert await store.acquire_leadership("a", 30) == (True, "")  # renewed
    await store.release_leadership("b")
    assert bench.worker.command("GET", "te:leader") == b"a:2"
    assert await store.acquire_leadership("a", 0.05) == (True, "")
    deadline = time.monotonic() + 5
    while not (await store.acquire_leadership("b", 30))[0]:  # a's lock runs out
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await store.release_leadership("b")
    assert await store.acquire_leadership("a", 30) == (True, "")


async def test_a_lock_whose_mark_stood_still_can_be_taken_over_once(bench: Bench) -> None:
    store = bench.reconciler
    await store.acquire_leadership("a", 30)
    _, mark = await store.acquire_leadership("b", 30)
    await store.acquire_leadership("a", 30)  # it lives after all
    assert await store.acquire_leadership("b", 30, mark) == (False, "a:2")
    assert await store.acquire_leadership("b", 30, "a:2") == (True, "")
    assert await store.acquire_leadership("c", 30, "a:2") == (False, "b:3")


def test_no_script_judges_by_the_age_of_what_the_servers_clock_noted() -> None:
    """A clock that is set would make healthy attempts stalled, or lost messages young."""
    folder = resources.files("job_store") / "scripts"
    age = re.compile(r"now(_ms\(\))?\)* *[-<>]|[-<>]=? *(tonumber\()?now")
    judges = {
        file.name
        for file in folder.iterdir()
        for line in file.read_text().splitlines()
        if file.name.endswith(".lua") and age.search(line.partition("--")[0])
    }
    # Files that may be superfluous, looked through a while later; workers gone for a day.
    assert judges == {"due_sweeps.lua", "heartbeat.lua"}
