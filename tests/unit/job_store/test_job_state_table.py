"""One test for each cell of the state table."""

from __future__ import annotations

import pytest
from job_store_bench import LOST, Bench, checkpoint, points

from job_store.errors import FencedError, NotFoundError, TransitionRefusedError
from job_store.reconcile import DelayedRetry
from job_store.records import JobError, JobStatus, Outcome, OutcomeKind

S = JobStatus
AT_REST = (S.STOPPED, S.FAILED, S.SUCCEEDED)
BAD_DATA = JobError("DATASET_NOT_FOUND", "no file /data/text.txt", "Traceback ...")


async def state(bench: Bench, job_id: str) -> JobStatus:
    return (await bench.jobs.get(job_id)).status


# claim


async def test_a_queued_job_is_claimed_and_runs(bench: Bench) -> None:
    job, _ = await bench.in_state(S.QUEUED)
    claimed = bench.attempts.claim(job.job_id, 1, "worker-1")
    assert claimed is not None
    assert claimed.record.status is S.RUNNING
    assert claimed.record.worker_id == "worker-1"
    assert claimed.record.started_at is not None
    assert claimed.resume_from is None
    assert await bench.jobs.count(S.RUNNING) == 1
    assert await bench.jobs.count(S.QUEUED) == 0


@pytest.mark.parametrize("status", [S.RUNNING, S.STOPPING, *AT_REST])
async def test_a_claim_of_a_job_that_does_not_wait_is_a_no_op(
    bench: Bench, status: JobStatus
) -> None:
    job, _ = await bench.in_state(status)
    assert bench.attempts.claim(job.job_id, job.attempt, "worker-2") is None
    assert await bench.jobs.get(job.job_id) == job


# stop


async def test_stop_of_a_queued_job_stops_it(bench: Bench) -> None:
    job, _ = await bench.in_state(S.QUEUED)
    stopped = await bench.jobs.request_stop(job.job_id)
    assert stopped.status is S.STOPPED
    assert stopped.completed_at is not None
    assert await bench.jobs.jobs_lacking_message() == []


async def test_stop_of_a_running_job_asks_its_worker(bench: Bench) -> None:
    job, token = await bench.running()
    stopping = await bench.jobs.request_stop(job.job_id)
    assert stopping.status is S.STOPPING
    assert stopping.stop_requested_at is not None
    assert stopping.stop_deadline == stopping.stop_requested_at + 30_000
    assert bench.attempts.renew_lease(token).stop_requested


async def test_stop_of_a_stopping_job_changes_nothing(bench: Bench) -> None:
    job, _ = await bench.in_state(S.STOPPING)
    assert await bench.jobs.request_stop(job.job_id) == job


@pytest.mark.parametrize("status", AT_REST)
async def test_stop_of_a_job_at_rest_is_refused(bench: Bench, status: JobStatus) -> None:
    job, _ = await bench.in_state(status)
    with pytest.raises(
        TransitionRefusedError, match=f"is {status}, which does not allow to stop it"
    ):
        await bench.jobs.request_stop(job.job_id)
    assert await bench.jobs.get(job.job_id) == job


# finish and error


@pytest.mark.parametrize("status", [S.RUNNING, S.STOPPING])
@pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.FAILED])
async def test_a_claimed_job_finishes_or_fails(
    bench: Bench, status: JobStatus, kind: OutcomeKind
) -> None:
    _job, token = await bench.in_state(status)
    assert token is not None
    error = BAD_DATA if kind is OutcomeKind.FAILED else None
    done = bench.attempts.finish(token, Outcome(kind, error))
    assert done.status == kind.value
    assert done.error == error
    assert done.completed_at is not None
    assert await bench.jobs.count(done.status) == 1
    with pytest.raises(FencedError, match=f"no longer owns the job .the job is {kind.value}"):
        bench.attempts.renew_lease(token)


async def test_a_stopping_job_stops(bench: Bench) -> None:
    _job, token = await bench.in_state(S.STOPPING, checkpoints=[5])
    assert token is not None
    done = bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED, message="stopped at step 5"))
    assert (done.status, done.message) == (S.STOPPED, "stopped at step 5")
    assert (done.stop_deadline, done.stop_requested_at) == (None, None)


async def test_a_running_job_cannot_end_a_stop_nobody_asked_for(bench: Bench) -> None:
    _, token = await bench.running()
    with pytest.raises(TransitionRefusedError, match=r"is running.*no stop was requested"):
        bench.attempts.finish(token, Outcome(OutcomeKind.STOPPED))


# worker lost, crashed or preempted


@pytest.mark.parametrize("how", ["lost", "crashed", "handed_back"])
async def test_a_running_job_that_loses_its_worker_is_queued_again(bench: Bench, how: str) -> None:
    job, token = await bench.running()
    await bench.jobs.mark_enqueued(job.job_id, 1)
    if how == "lost":
        await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    else:
        error = LOST if how == "crashed" else None  # a hand-back with one waits for a pause
        bench.attempts.finish(token, Outcome(OutcomeKind(how), error))
    again = await bench.jobs.get(job.job_id)
    assert (again.status, again.attempt, again.claim_id) == (S.QUEUED, 2, "")
    assert again.consecutive_failures == (0 if how == "handed_back" else 1)
    assert again.enqueued_at is None
    assert [a.attempt for a in await bench.jobs.jobs_lacking_message()] == [2]
    with pytest.raises(FencedError):
        bench.attempts.publish_metrics(token, points(1, 2))


@pytest.mark.parametrize("how", ["lost", "crashed", "handed_back"])
async def test_a_stopping_job_that_loses_its_worker_is_stopped(bench: Bench, how: str) -> None:
    job, token = await bench.in_state(S.STOPPING, checkpoints=[7])
    assert token is not None
    if how == "lost":
        await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    else:
        error = LOST if how == "crashed" else None  # a hand-back with one waits for a pause
        bench.attempts.finish(token, Outcome(OutcomeKind(how), error))
    stopped = await bench.jobs.get(job.job_id)
    assert (stopped.status, stopped.attempt) == (S.STOPPED, 1)
    if how != "handed_back":
        assert "resumed from its last registered checkpoint, step 7, or" in stopped.message


@pytest.mark.parametrize("status", [S.QUEUED, *AT_REST])
async def test_nothing_is_lost_where_nothing_runs(bench: Bench, status: JobStatus) -> None:
    job, token = await bench.in_state(status)
    claim_id = token.claim_id if token else ""
    assert await bench.reconciler.declare_lost(job.job_id, 1, claim_id, LOST) is None
    assert await bench.jobs.get(job.job_id) == job


# resume


@pytest.mark.parametrize("status", [S.QUEUED, S.RUNNING, S.STOPPING])
async def test_resume_of_a_job_under_way_is_refused(bench: Bench, status: JobStatus) -> None:
    job, _ = await bench.in_state(status)
    with pytest.raises(
        TransitionRefusedError, match=f"is {status}, which does not allow to resume"
    ):
        await bench.jobs.resume(job.job_id)


@pytest.mark.parametrize("status", [S.STOPPED, S.FAILED])
async def test_resume_continues_from_the_newest_checkpoint(bench: Bench, status: JobStatus) -> None:
    job, _ = await bench.in_state(status, checkpoints=[5, 10])
    resumed = await bench.jobs.resume(job.job_id)
    assert (resumed.status, resumed.attempt, resumed.resumed_from_step) == (S.QUEUED, 2, 10)
    assert (resumed.error, resumed.completed_at, resumed.max_steps) == (None, None, 100)
    claimed = bench.attempts.claim(job.job_id, 2, "worker-2")
    assert claimed is not None
    assert claimed.resume_from is not None
    assert (claimed.resume_from.step, claimed.record.current_step) == (10, 10)
    assert (await bench.jobs.get(job.job_id)).config_document == job.config_document


async def test_resume_for_more_steps_takes_the_new_configuration(bench: Bench) -> None:
    job, _ = await bench.in_state(S.SUCCEEDED, checkpoints=[100])
    longer = '{"max_steps": 200}'
    await bench.jobs.resume(job.job_id, max_steps=200, config_document=longer)
    record = await bench.jobs.get(job.job_id)
    assert (record.config_document, record.max_steps) == (longer, 200)


async def test_a_succeeded_job_needs_more_steps_or_an_earlier_checkpoint(bench: Bench) -> None:
    job, _ = await bench.in_state(S.SUCCEEDED, checkpoints=[50, 100])
    with pytest.raises(
        TransitionRefusedError, match="needs a larger max_steps than 100 or an earlier"
    ):
        await bench.jobs.resume(job.job_id)
    newest = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints[-1]
    with pytest.raises(TransitionRefusedError, match="needs a larger max_steps"):
        await bench.jobs.resume(job.job_id, checkpoint_id=newest.checkpoint_id)
    document = '{"max_steps": 200}'
    longer = await bench.jobs.resume(job.job_id, max_steps=200, config_document=document)
    assert (longer.status, longer.max_steps, longer.resumed_from_step) == (S.QUEUED, 200, 100)
    assert (await bench.jobs.get(job.job_id)).config_document == document


async def test_a_job_begins_at_step_0_on_a_persons_word(bench: Bench) -> None:
    job, _ = await bench.in_state(S.SUCCEEDED, checkpoints=[50, 100])
    resumed = await bench.jobs.resume(job.job_id, from_start=True)
    assert (resumed.status, resumed.current_step, resumed.resumed_from_step) == (S.QUEUED, 0, None)
    assert (await bench.jobs.list_checkpoints(job.job_id)).checkpoints == ()
    kept = await bench.jobs.retired_checkpoints(job.job_id)
    assert sorted(one.step for one in kept) == [50, 100]


async def test_a_succeeded_job_resumes_from_an_earlier_checkpoint(bench: Bench) -> None:
    job, _ = await bench.in_state(S.SUCCEEDED, checkpoints=[50, 100])
    first, later = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints
    resumed = await bench.jobs.resume(job.job_id, checkpoint_id=first.checkpoint_id)
    assert (resumed.resumed_from_step, resumed.current_step) == (50, 50)
    left = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints
    assert [c.step for c in left] == [50]
    with pytest.raises(NotFoundError, match="there is no checkpoint"):
        await bench.jobs.get_checkpoint(later.checkpoint_id)
    assert [c.step for c in await bench.jobs.retired_checkpoints(job.job_id)] == [100]
    await bench.jobs.forget_checkpoint(job.job_id, later.checkpoint_id)
    assert await bench.jobs.retired_checkpoints(job.job_id) == []


async def test_resume_refuses_fewer_steps_than_were_done(bench: Bench) -> None:
    job, _ = await bench.in_state(S.STOPPED, checkpoints=[50])
    with pytest.raises(
        TransitionRefusedError, match=r"max_steps 50 must be larger than the step.* 50"
    ):
        await bench.jobs.resume(job.job_id, max_steps=50)


async def test_resume_refuses_a_checkpoint_of_another_job(bench: Bench) -> None:
    job, _ = await bench.in_state(S.STOPPED, checkpoints=[50])
    other, _ = await bench.in_state(S.STOPPED, checkpoints=[50])
    (foreign,) = (await bench.jobs.list_checkpoints(other.job_id)).checkpoints
    with pytest.raises(NotFoundError, match="there is no checkpoint"):
        await bench.jobs.resume(job.job_id, checkpoint_id=foreign.checkpoint_id)
    assert await bench.jobs.get(job.job_id) == job


# delete


@pytest.mark.parametrize("status", [S.RUNNING, S.STOPPING])
async def test_delete_of_a_job_under_way_is_refused(bench: Bench, status: JobStatus) -> None:
    job, _ = await bench.in_state(status)
    with pytest.raises(
        TransitionRefusedError, match=f"is {status}, which does not allow to delete"
    ):
        await bench.jobs.delete(job.job_id)


@pytest.mark.parametrize("status", [S.QUEUED, *AT_REST])
async def test_delete_leaves_no_key_behind(bench: Bench, status: JobStatus) -> None:
    job, _ = await bench.in_state(status, checkpoints=[8, 16, 40])
    await bench.jobs.delete(job.job_id)
    with pytest.raises(NotFoundError, match=f"there is no job '{job.job_id}'"):
        await bench.jobs.get(job.job_id)
    reconcile = bench.reconciler
    assert await reconcile.due_sweeps(60.0) == []
    # Its files are somebody's to remove, until that is done.
    assert await reconcile.due_sweeps(0.0) == [job.job_id] == await reconcile.due_sweeps(60.0)
    await reconcile.swept(job.job_id)
    keys = bench.worker.command("KEYS", "te:*")
    assert [key for key in keys if not key.startswith((b"te:request:", b"te:disk"))] == []
    assert bench.attempts.claim(job.job_id, job.attempt, "worker-1") is None


async def test_files_of_a_deleted_job_are_looked_for_the_whole_while_later(bench: Bench) -> None:
    """A zombie may write until then, and nobody looks again."""
    job, token = await bench.running()
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    bench.worker.command("ZADD", "te:jobs:sweep", 1000, job.job_id)  # its end was long ago
    await bench.jobs.delete(job.job_id)
    assert await bench.reconciler.due_sweeps(60.0) == []
    assert await bench.reconciler.due_sweeps(0.0) == [job.job_id]


async def test_a_job_that_waits_keeps_the_checkpoint_that_it_continues_from(bench: Bench) -> None:
    _, token = await bench.in_state(S.RUNNING)
    assert token is not None
    older, newest = (bench.checkpoint(token, step) for step in (5, 10))
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    with pytest.raises(TransitionRefusedError, match="it continues from it; stop it first"):
        await bench.jobs.delete_checkpoint(newest.checkpoint_id)
    await bench.jobs.delete_checkpoint(older.checkpoint_id)
    left = (await bench.jobs.list_checkpoints(token.job_id)).checkpoints
    assert [one.step for one in left] == [10]


# retries


async def test_a_crash_loop_fails_with_the_last_error(bench: Bench) -> None:
    job, token = await bench.running(max_retries=2)
    for attempt in (1, 2):
        bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
        token = bench.claim(await bench.jobs.get(job.job_id))
        assert token.attempt == attempt + 1
    last = JobError("TRAINER_DIED", "signal 9", "the last line")
    done = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, last))
    assert (done.status, done.error, done.consecutive_failures) == (S.FAILED, last, 3)
    assert done.message == "3 attempts in a row ended without a new checkpoint (max_retries 2)"


async def test_a_new_checkpoint_forgives_and_a_hand_back_never_counts(bench: Bench) -> None:
    job, token = await bench.running(max_retries=1)
    for step in (10, 20, 30):
        bench.checkpoint(token, step)
        record = await bench.reconciler.declare_lost(
            job.job_id, token.attempt, token.claim_id, LOST
        )
        assert record is not None
        assert (record.status, record.consecutive_failures) == (S.QUEUED, 0)
        token = bench.claim(record)
    for _ in range(3):
        record = bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
        assert (record.status, record.consecutive_failures) == (S.QUEUED, 0)
        token = bench.claim(record)
    record = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    assert (record.status, record.consecutive_failures) == (S.QUEUED, 1)


# a damaged checkpoint


async def test_falling_back_supersedes_the_damaged_checkpoint(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 20))
    bench.checkpoint(token, 10, score=0.5)
    bench.checkpoint(token, 20, score=0.4)
    record = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    token = bench.claim(record)
    with pytest.raises(TransitionRefusedError, match="step 30 is beyond its newest registered"):
        bench.attempts.confirm_start(token, 30)
    notes = ["the number of threads changed from 2 to 1"]
    bench.attempts.confirm_start(token, 10, notes, "9 windows", ["dataset_path: 3 are skipped"])
    bench.attempts.confirm_start(token, 10, notes, "9 windows", ["dataset_path: 1 is skipped"])
    job = await bench.jobs.get(job.job_id)
    assert (job.resumed_from_step, job.current_step) == (10, 10)
    assert job.notes == ("the number of threads changed from 2 to 1",)
    assert job.data_warnings == ("dataset_path: 1 is skipped",)
    (left,) = bench.attempts.checkpoints(job.job_id)
    assert (left.step, left.is_best) == (10, True)
    page = await bench.history.page(job.job_id)
    assert [p.step for p in page.points] == list(range(1, 11))


async def test_a_step_that_is_saved_again_keeps_one_checkpoint_and_its_score(bench: Bench) -> None:
    job, token = await bench.running()
    bench.checkpoint(token, 10, 0.3)
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK)))
    again = bench.checkpoint(token, 10)  # stopped before its first step: nothing new is measured
    (kept,) = (await bench.jobs.list_checkpoints(job.job_id)).checkpoints
    assert (kept.checkpoint_id, kept.attempt, kept.is_best) == (again.checkpoint_id, 2, True)
    better = bench.checkpoint(token, 20, 0.2)
    assert (await bench.jobs.get(job.job_id)).best_checkpoint_id == better.checkpoint_id
    assert len(bench.attempts.retired_checkpoints(job.job_id)) == 1
    bench.checkpoint(token, 20, 0.4)  # measured again, with a score of its own
    assert (await bench.jobs.get(job.job_id)).best_checkpoint_id == again.checkpoint_id


async def test_a_checkpoint_asks_for_a_sweep_where_retired_ones_wait_for_it(bench: Bench) -> None:
    _, token = await bench.running()
    first = bench.checkpoint(token, 1)
    assert await bench.reconciler.due_sweeps(0) == []
    bench.attempts.unregister_checkpoint(token, first.checkpoint_id)
    assert await bench.reconciler.due_sweeps(0) == [token.job_id]
    await bench.reconciler.swept(token.job_id)  # which kept the files of the only checkpoint
    bench.checkpoint(token, 2)
    assert await bench.reconciler.due_sweeps(0) == [token.job_id]


async def test_only_an_attempt_that_ended_by_itself_leaves_a_notice(bench: Bench) -> None:
    job, token = await bench.in_state(JobStatus.STOPPED, (1,))
    resumed = await bench.jobs.resume(job.job_id)  # the call that resumes sends the message itself
    assert bench.worker.command("XLEN", "te:notices") == 0
    token = bench.claim(resumed)
    bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    assert bench.worker.command("XLEN", "te:notices") == 1


async def test_checkpoints_are_removed_with_a_token_or_on_a_job_at_rest(bench: Bench) -> None:
    job, token = await bench.running()
    first, second = bench.checkpoint(token, 10, 0.3), bench.checkpoint(token, 20, 0.4)
    assert (await bench.jobs.get_checkpoint(first.checkpoint_id)).is_best
    with pytest.raises(TransitionRefusedError, match="does not allow to delete a checkpoint of it"):
        await bench.jobs.delete_checkpoint(first.checkpoint_id)
    assert bench.attempts.unregister_checkpoint(token, first.checkpoint_id) is True
    assert bench.attempts.unregister_checkpoint(token, first.checkpoint_id) is False
    assert (await bench.jobs.get_checkpoint(second.checkpoint_id)).is_best
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    with pytest.raises(FencedError):
        bench.attempts.unregister_checkpoint(token, second.checkpoint_id)
    with pytest.raises(FencedError):
        bench.attempts.register_checkpoint(token, checkpoint(token, 30))
    await bench.jobs.delete_checkpoint(second.checkpoint_id)
    assert (await bench.jobs.list_checkpoints(job.job_id)).checkpoints == ()
    assert (await bench.jobs.get(job.job_id)).best_checkpoint_id == ""


# a pause before a retry


async def lacking_message(bench: Bench) -> list[str]:
    return [queued.job_id for queued in await bench.jobs.jobs_lacking_message()]


async def test_a_retry_that_only_time_can_help_waits_for_its_message(bench: Bench) -> None:
    job, token = await bench.in_state(S.RUNNING)
    full = JobError("DISK_FULL", "No space left on device")
    record = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, full))
    assert (record.status, record.attempt) == (S.QUEUED, 2)
    assert record.message == (
        "attempt 1 ended early and is tried again after a pause: No space left on device"
    )
    assert await lacking_message(bench) == []
    assert await bench.reconciler.delayed_retries() == [DelayedRetry(job.job_id, 2, 1)]
    assert not await bench.reconciler.release_retry(job.job_id, 1)
    assert await bench.reconciler.release_retry(job.job_id, 2)
    assert await lacking_message(bench) == [job.job_id]
    assert await bench.reconciler.delayed_retries() == []
    assert not await bench.reconciler.release_retry(job.job_id, 2)


async def test_failures_in_a_row_are_counted_for_the_pause(bench: Bench) -> None:
    job, token = await bench.in_state(S.RUNNING)
    full = JobError("CHECKPOINT_FAILED", "input/output error")
    for attempt in (1, 2, 3):
        if attempt > 1:
            claimed = bench.attempts.claim(job.job_id, attempt, "worker")
            assert claimed is not None
            token = claimed.token
        bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, full))
        (retry,) = await bench.reconciler.delayed_retries()
        assert (retry.attempt, retry.failures) == (attempt + 1, attempt)
        assert await bench.reconciler.release_retry(job.job_id, attempt + 1)


@pytest.mark.parametrize("reason", ["TRAINER_DIED", "WORKER_LOST", "STALLED"])
async def test_other_retries_wait_for_nothing(bench: Bench, reason: str) -> None:
    job, token = await bench.in_state(S.RUNNING)
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, JobError(reason, "gone")))
    assert await lacking_message(bench) == [job.job_id]


async def test_a_job_that_pauses_can_be_stopped_resumed_and_deleted(bench: Bench) -> None:
    job, token = await bench.in_state(S.RUNNING)
    full = JobError("DISK_FULL", "full")
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, full))
    await bench.jobs.request_stop(job.job_id)
    assert await bench.connection.command("ZCARD", "te:jobs:delayed") == 0
    await bench.jobs.resume(job.job_id)
    assert await lacking_message(bench) == [job.job_id]  # a person asked: at once
    claimed = bench.attempts.claim(job.job_id, 3, "worker")
    assert claimed is not None
    bench.attempts.finish(claimed.token, Outcome(OutcomeKind.CRASHED, full))
    await bench.jobs.delete(job.job_id)
    assert await bench.connection.command("ZCARD", "te:jobs:delayed") == 0


async def test_a_note_about_a_running_job_reaches_its_record_and_its_watchers(
    bench: Bench,
) -> None:
    job, token = await bench.in_state(S.RUNNING)
    bench.attempts.note(token, "the disk is full")
    assert (await bench.jobs.get(job.job_id)).message == "the disk is full"
    event = (await bench.connection.command("XREVRANGE", f"te:job:{job.job_id}:events", "+", "-"))[
        0
    ]
    assert b"the disk is full" in event[1][b"d"]
    bench.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert (await bench.jobs.get(job.job_id)).message == ""
    with pytest.raises(FencedError):
        bench.attempts.note(token, "too late")
