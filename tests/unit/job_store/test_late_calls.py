"""Calls that come long after what they were about: of a frozen process, or of a slow connection."""

from __future__ import annotations

import pytest
from job_store_bench import LOST, Bench, checkpoint, points

from job_store.errors import FencedError
from job_store.records import JobError, JobStatus, Phase

STALLED = JobError("STALLED", "no step for 2 s after step 1")


async def test_a_worker_that_has_renewed_since_it_was_looked_at_is_not_lost(bench: Bench) -> None:
    job, token = await bench.running()
    (seen,) = await bench.reconciler.running_attempts()
    claim = (job.job_id, 1, token.claim_id)
    bench.attempts.renew_lease(token)
    assert await bench.reconciler.declare_lost(*claim, LOST, seen.lease) is None
    bench.attempts.renew_lease(token)  # it holds the attempt still
    (now,) = await bench.reconciler.running_attempts()
    lost = await bench.reconciler.declare_lost(*claim, LOST, now.lease)
    assert lost is not None
    assert (lost.status, lost.attempt) == (JobStatus.QUEUED, 2)
    with pytest.raises(FencedError):
        bench.attempts.renew_lease(token)


async def test_a_trainer_that_has_shown_a_sign_since_it_was_looked_at_has_not_stalled(
    bench: Bench,
) -> None:
    job, token = await bench.running()
    bench.worker.command("HDEL", f"te:job:{job.job_id}", "pulses")  # as a record before it has one
    bench.attempts.publish_metrics(token, points(1, 1))
    claim = (job.job_id, 1, token.claim_id)
    signs = (
        lambda: bench.attempts.publish_metrics(token, points(2, 2)),
        lambda: bench.attempts.report_progress(token, 2, Phase.TRAINING, pulses=5),
    )
    for show in signs:
        (seen,) = await bench.reconciler.running_attempts()
        show()
        assert await bench.reconciler.declare_lost(*claim, STALLED, seen.sign) is None
    (seen,) = await bench.reconciler.running_attempts()
    bench.attempts.renew_lease(token)  # which a worker does whose trainer has stalled
    lost = await bench.reconciler.declare_lost(*claim, STALLED, seen.sign)
    assert lost is not None
    assert lost.message.endswith(STALLED.message)


async def test_a_checkpoint_that_is_gone_is_not_registered_by_a_call_that_comes_late(
    bench: Bench,
) -> None:
    job, token = await bench.running()
    first, second = checkpoint(token, 10, score=0.5), checkpoint(token, 20, score=0.7)
    for record in (first, second):
        bench.attempts.register_checkpoint(token, record)
    assert bench.attempts.unregister_checkpoint(token, first.checkpoint_id)
    await bench.jobs.forget_checkpoint(job.job_id, first.checkpoint_id)  # with its files
    bench.attempts.register_checkpoint(token, first)
    page = await bench.jobs.list_checkpoints(job.job_id)
    assert [one.checkpoint_id for one in page.checkpoints] == [second.checkpoint_id]
    best = (await bench.jobs.get(job.job_id)).best_checkpoint_id
    assert best == second.checkpoint_id
