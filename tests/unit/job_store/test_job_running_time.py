"""How long a job has run: while a worker holds it, and at no other time."""

from __future__ import annotations

import asyncio

import pytest
from job_store_bench import LOST, Bench, new_job

from job_store.records import JobRecord, JobStatus, Outcome, OutcomeKind, Phase

S = JobStatus


async def later(bench: Bench, since: int | None = None) -> int:
    """Wait until the server's clock shows another millisecond; its time then."""
    while True:
        seconds, micros = await bench.connection.command("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        if since is not None and now > since + 5:
            return now
        since = since or now
        await asyncio.sleep(0.001)


async def held(bench: Bench, job: JobRecord) -> int:
    """Milliseconds between the claims and the ends of the job's attempts."""
    attempts = await bench.history.attempts(job.job_id)
    return sum(one.ended_at - one.claimed_at for one in attempts if one.claimed_at and one.ended_at)


async def test_only_the_time_of_attempts_counts(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    await later(bench)
    assert (await bench.jobs.get(job.job_id)).running_ms == 0  # it waits

    token = bench.claim(job)
    await later(bench)
    (listed,) = (await bench.jobs.list()).items
    assert listed.running_ms > 5  # it runs: the time goes on with every look
    await bench.jobs.request_stop(job.job_id)
    await later(bench)
    bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    stopped = await bench.jobs.get(job.job_id)
    assert stopped.running_ms == await held(bench, job) > 10  # a stop takes its time

    await later(bench)
    again = await bench.jobs.resume(job.job_id)
    await later(bench)
    assert (again.running_ms, (await bench.jobs.get(job.job_id)).running_ms) == (
        (stopped.running_ms,) * 2
    )
    token = bench.claim(again)
    await later(bench)
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    ended = await bench.jobs.get(job.job_id)
    assert ended.running_ms == await held(bench, job) > stopped.running_ms + 5


@pytest.mark.parametrize("how", ["crashed", "handed_back", "lost"])
async def test_an_attempt_counts_to_the_last_that_was_heard_of_it(bench: Bench, how: str) -> None:
    job, token = await bench.running()
    await later(bench)
    bench.attempts.report_progress(token, 1, Phase.TRAINING)
    heard = (await bench.jobs.get(job.job_id)).updated_at
    await later(bench, heard)
    if how == "lost":
        await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    else:
        bench.attempts.finish(token, Outcome(OutcomeKind(how), LOST))
    queued = await bench.jobs.get(job.job_id)
    assert queued.status is S.QUEUED
    (attempt,) = (one for one in await bench.history.attempts(job.job_id) if one.ended_at)
    assert attempt.claimed_at is not None
    assert attempt.ended_at is not None
    end = heard if how == "lost" else attempt.ended_at
    assert queued.running_ms == end - attempt.claimed_at


async def test_a_job_of_an_earlier_version_begins_to_count(bench: Bench) -> None:
    job, token = await bench.running()
    key = f"{bench.connection.prefix}job:{job.job_id}"
    await bench.connection.command("HDEL", key, "ran_ms", "running_since")
    assert (await bench.jobs.get(job.job_id)).running_ms == 0
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    token = bench.claim(await bench.jobs.get(job.job_id))
    await later(bench)
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert (await bench.jobs.get(job.job_id)).running_ms > 5
