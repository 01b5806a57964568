"""Samples of a job's processes: kept by time, across attempts, bounded in number."""

from __future__ import annotations

import pytest
from job_store_bench import Bench, new_job

from job_store import attempts
from job_store.errors import FencedError, NotFoundError
from job_store.records import Outcome, OutcomeKind


async def times(bench: Bench, job_id: str) -> list[tuple[int, int]]:
    return [(one.attempt, one.created_at) for one in await bench.history.system(job_id)]


async def test_samples_stay_through_a_lost_worker_and_a_resume(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.append_system(
        token, 5, {"system/cpu_percent": 99.96, "system/memory_bytes": 7.0}
    )
    (sample,) = await bench.history.system(job.job_id)
    assert sample.values == {"system/cpu_percent": 100.0, "system/memory_bytes": 7.0}
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED))
    with pytest.raises(FencedError):
        bench.attempts.append_system(token, 6, {})
    again = bench.claim(await bench.jobs.get(job.job_id))
    bench.attempts.append_system(again, 7, {})
    bench.attempts.finish(again, Outcome(OutcomeKind.FAILED))
    await bench.jobs.resume(job.job_id, from_start=True)
    assert await times(bench, job.job_id) == [(1, 5), (2, 7)]
    await bench.jobs.request_stop(job.job_id)
    await bench.jobs.delete(job.job_id)
    assert await bench.connection.command("EXISTS", f"te:job:{job.job_id}:system") == 0
    with pytest.raises(NotFoundError):
        await bench.history.system(job.job_id)
    waiting = await bench.jobs.create(new_job(name="other"))
    assert await times(bench, waiting.job_id) == []


async def test_a_long_run_keeps_samples_of_all_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_SAMPLES", 8)
    job, token = await bench.running()
    for number in range(1, 26):
        for _ in range(2):  # the answer to the first was lost
            bench.attempts.append_system(token, number, {})
    kept = [time for _, time in await times(bench, job.job_id)]
    assert kept == [1, 17, 21, 23, 25]
