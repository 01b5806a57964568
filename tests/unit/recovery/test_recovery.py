"""Each acknowledged record comes back from the artifact store, in its state."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace

import pytest
from lost_service import DOCUMENT, LostService

from artifact_store import job_prefix
from job_store.errors import FencedError, NotFoundError
from job_store.ids import new_id
from job_store.records import (
    ForkOptimizer,
    JobError,
    JobFilter,
    JobRecord,
    JobStatus,
    NewJob,
    Outcome,
    OutcomeKind,
)
from job_store.restoring import RestoreStore
from recovery.recovery import NotEmptyError, recover
from training_worker.republish import republish_missing
from training_worker.spool import SpoolWriter


def without_times(record: JobRecord) -> JobRecord:
    return replace(record, updated_at=0)


async def ended(service: LostService, name: str, outcome: Outcome) -> str:
    """A job that logged four steps, saved the third, and ended."""
    job_id = await service.start(name)
    token = service.claim(job_id)
    service.log(token, range(1, 5))
    service.save(token, 3)
    if outcome.kind is OutcomeKind.STOPPED:
        await service.jobs.request_stop(job_id)
    service.attempts.finish(token, outcome)
    service.write_journal(job_id)
    return job_id


async def test_jobs_at_rest_come_back_as_they_were(service: LostService) -> None:
    error = JobError("NON_FINITE_LOSS", "the loss is nan", "the tail")
    ids = [
        await ended(service, "done", Outcome(OutcomeKind.SUCCEEDED)),
        await ended(service, "broken", Outcome(OutcomeKind.FAILED, error)),
        await ended(service, "stopped", Outcome(OutcomeKind.STOPPED)),
        await service.start("waits"),
        await service.start("stopped early"),
    ]
    await service.jobs.request_stop(ids[-1])
    await service.jobs.update(ids[0], add_tags=["kept"], most_tags=20, notes="Größe 4")
    deleted = await ended(service, "deleted", Outcome(OutcomeKind.SUCCEEDED))
    await service.jobs.delete(deleted)
    service.artifacts.delete_prefix(job_prefix(deleted))
    before = [without_times(await service.job(id)) for id in ids]
    checkpoints = [(await service.jobs.list_checkpoints(id)).checkpoints for id in ids]
    histories = [await service.history.page(id) for id in ids]
    alerts = [await service.history.alerts(id) for id in ids]
    assert [len(each) for each in alerts] == [2, 2, 1, 0, 0]
    samples = [(await service.history.samples(id)).items for id in ids]
    assert [len(each) for each in samples] == [4, 4, 4, 0, 0]
    service.lose_redis()

    report = service.recover()

    assert [(row.id, row.state) for row in report.findings] == [
        (record.job_id, record.status.value) for record in before
    ]
    after = [await service.job(id) for id in ids]
    assert [without_times(record) for record in after] == [
        replace(record, enqueued_at=None) for record in before
    ]
    assert [(await service.jobs.list_checkpoints(id)).checkpoints for id in ids] == checkpoints
    assert [(await service.history.page(id)).points for id in ids] == [
        history.points for history in histories
    ]
    assert [(await service.history.samples(id)).items for id in ids] == samples
    assert [await service.history.alerts(id) for id in ids] == alerts
    assert [job.job_id for job in (await service.jobs.list()).items] == ids[::-1]
    for chosen in (
        JobFilter(name="done"),
        JobFilter(tags=("kept",)),
        JobFilter(search="kept GRÖSSE"),
    ):
        assert [job.job_id for job in (await service.jobs.list(chosen)).items] == ids[:1]
    assert (await service.jobs.count(JobStatus.STOPPED), await service.jobs.count()) == (2, 5)
    assert [one.job_id for one in await service.jobs.jobs_lacking_message()] == [ids[3]]


async def test_alerts_that_the_journal_missed_fire_again_with_their_ids(
    service: LostService,
) -> None:
    job_id = await service.start("runs")
    token = service.claim(job_id)
    service.log(token, [1, 2])
    service.save(token, 2)
    service.log(token, [3, 4])  # the loss is below 0.3 at step 4
    service.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    lost = await service.history.alerts(job_id)
    assert [(one.rule, one.step, one.attempt) for one in lost] == [(0, 4, 1), (2, 4, 1)]
    quiet = await service.start("quiet")
    service.lose_redis()

    service.recover()

    assert await service.history.alerts(job_id) == ()
    again = service.claim(job_id, 2)
    service.log(again, [3, 4])
    service.attempts.finish(again, Outcome(OutcomeKind.SUCCEEDED))
    fired = await service.history.alerts(job_id)
    assert [one.alert_id for one in fired] == [one.alert_id for one in lost]
    service.write_journal(job_id)
    service.lose_redis()
    service.recover()
    assert await service.history.alerts(job_id) == fired
    listed = service.worker.command("ZRANGE", "te:jobs:alerting", 0, -1)
    assert (listed, await service.history.alerts(quiet)) == ([job_id.encode()], ())


async def test_a_fork_keeps_its_lineage_and_begins_at_its_parents_step(
    service: LostService,
) -> None:
    parent = await ended(service, "parent", Outcome(OutcomeKind.SUCCEEDED))
    (saved,) = (await service.jobs.list_checkpoints(parent)).checkpoints
    fork_id = new_id("job")
    copy = f"{job_prefix(fork_id)}/fork/checkpoint_step_{saved.step}.pt"
    service.artifacts.put(copy, [b"weights %d" % saved.step])
    begins_with = replace(
        saved, checkpoint_id=new_id("checkpoint"), job_id=fork_id, attempt=0, artifact=copy
    )
    lineage = {
        "parent_job_id": parent, "parent_checkpoint_id": saved.checkpoint_id,
        "fork_step": saved.step, "fork_optimizer": ForkOptimizer.KEPT,
    }  # fmt: skip
    new = NewJob(DOCUMENT, 100, "/data/text", name="fork", **lineage)  # type: ignore[arg-type]
    before = await service.jobs.create(new, begins_with=begins_with)
    service.lose_redis()
    assert service.finding(fork_id).state == "queued"
    after = await service.job(fork_id)
    assert {field: getattr(after, field) for field in lineage} == lineage
    assert without_times(after) == without_times(before)
    claimed = service.attempts.claim(fork_id, 1, "worker")
    assert claimed is not None
    assert claimed.resume_from is not None
    assert (claimed.resume_from.step, claimed.resume_from.artifact) == (saved.step, copy)


async def test_a_running_job_goes_on_and_its_old_trainer_changes_nothing(
    service: LostService,
) -> None:
    job_id = await service.start("runs")
    token = service.claim(job_id)
    service.log(token, range(1, 8))
    service.save(token, 3)
    saved = service.save(token, 6)
    service.log(token, range(8, 10))
    service.lose_redis()

    found = service.finding(job_id)

    assert (found.state, found.step, found.checkpoints, found.points) == ("queued", 6, 2, 6)
    job = await service.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 2)
    assert job.message == "Redis was lost while it ran; it continues from its checkpoint of step 6"
    with pytest.raises(FencedError):
        service.attempts.register_checkpoint(token, saved)
    with pytest.raises(FencedError):
        service.log(token, [10])
    assert await service.steps(job_id) == [1, 2, 3, 4, 5, 6]
    again = service.claim(job_id, 2)
    service.log(again, range(7, 12))
    assert await service.steps(job_id) == list(range(1, 12))


async def test_a_claim_that_the_journal_missed_is_counted(service: LostService) -> None:
    job_id = await service.start("begun")
    token = service.claim(job_id)  # killed before its first entry
    service.lose_redis()
    service.recover()
    job = await service.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 2)
    with pytest.raises(FencedError):
        service.log(token, [1])


async def test_a_stopping_job_is_stopped(service: LostService) -> None:
    job_id = await service.start("stops")
    token = service.claim(job_id)
    service.log(token, range(1, 6))
    service.save(token, 3)
    await service.jobs.request_stop(job_id)
    service.lose_redis()
    assert service.finding(job_id).state == "stopped"
    job = await service.job(job_id)
    assert (job.status, job.completed_at is not None) == (JobStatus.STOPPED, True)
    assert service.worker.command("ZRANGE", "te:jobs:unsent", 0, -1) == []
    resumed = await service.jobs.resume(job_id)
    assert (resumed.attempt, resumed.resumed_from_step) == (2, 3)
    service.claim(job_id, 2)
    assert await service.steps(job_id) == [1, 2, 3]


async def test_a_resumed_job_keeps_its_cut(service: LostService) -> None:
    job_id = await ended(service, "resumed", Outcome(OutcomeKind.SUCCEEDED))
    checkpoint = (await service.jobs.list_checkpoints(job_id)).checkpoints[0]
    await service.jobs.resume(job_id, checkpoint_id=checkpoint.checkpoint_id, max_steps=200)
    service.lose_redis()
    service.recover()
    job = await service.job(job_id)
    assert (job.attempt, job.max_steps, job.resumed_from_step) == (2, 200, 3)
    assert await service.steps(job_id) == [1, 2, 3]
    assert service.claim(job_id, 2).attempt == 2


async def test_configurations_and_datasets_come_back(service: LostService) -> None:
    config = await service.configs.create("base", "{}")
    gone = await service.configs.create("gone", "{}")
    await service.configs.delete(gone.config_id)
    info = service.artifacts.put("datasets/x/text.txt", [b"text"])
    dataset = await service.datasets.create("text.txt", info.size_bytes, info.sha256, info.key)
    service.lose_redis()
    service.recover()
    assert (await service.configs.list()).items == (config,)
    assert (await service.datasets.list()).items == (dataset,)
    with pytest.raises(NotFoundError):
        await service.configs.get(gone.config_id)


async def test_a_recovery_may_be_repeated_and_refuses_a_redis_that_holds_records(
    service: LostService,
) -> None:
    await service.start("one")
    with pytest.raises(NotEmptyError, match="it holds 1 jobs, 0 configurations and 0 datasets"):
        service.recover()
    service.lose_redis()
    assert not service.recover().already
    again = service.recover()
    assert (again.already, again.as_text().endswith("before: nothing to do")) == (True, True)
    service.lose_redis()
    service.worker.command("SET", "te:artifact_store", "store_of_another")
    with pytest.raises(NotEmptyError, match="belongs to the artifact store store_of_another"):
        recover(service.worker, service.folder)


async def test_a_recovery_that_was_cut_short_begins_again(
    service: LostService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await ended(service, name, Outcome(OutcomeKind.SUCCEEDED)) for name in ("a", "b")]
    service.lose_redis()
    release = RestoreStore.release_job

    def killed(self: RestoreStore, token: object, fields: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RestoreStore, "release_job", killed)
    with pytest.raises(KeyboardInterrupt):
        service.recover()
    monkeypatch.setattr(RestoreStore, "release_job", release)
    service.recover()
    for job_id in ids:
        assert (await service.job(job_id)).status is JobStatus.SUCCEEDED
        assert await service.steps(job_id) == [1, 2, 3, 4]
    assert await service.jobs.count(JobStatus.RUNNING) == 0


async def test_readers_see_no_hole_while_the_points_of_several_attempts_come(
    service: LostService,
) -> None:
    job_id = await service.start("lost twice")
    for attempt, step in ((1, 1), (2, 2)):
        token = service.claim(job_id, attempt)
        with closing(SpoolWriter(service.path(token))) as spool:
            spool.append(step, 0, {"loss": 1 / step})
        service.save(token, step)
        service.attempts.finish(token, Outcome(OutcomeKind.CRASHED))
    claimed = service.attempts.claim(job_id, 3, "worker")
    assert claimed is not None
    seen: list[list[int]] = []
    loop = asyncio.get_running_loop()

    def read(points: int) -> None:
        reading = asyncio.run_coroutine_threadsafe(service.steps(job_id), loop)
        seen.append(reading.result(timeout=10))

    republish = (service.attempts, service.artifacts, claimed, 2, read)
    await asyncio.to_thread(republish_missing, *republish)
    assert seen == [[1], [1, 2]]


async def test_what_is_there_is_left_as_it_is(service: LostService) -> None:
    store = RestoreStore(service.worker)
    config = await service.configs.create("tiny", "{}")
    assert not store.restore_item("config", config.config_id, {"name": "another"})
    assert (await service.configs.get(config.config_id)).name == "tiny"
    job_id = await service.start("runs")
    token = service.claim(job_id)
    before = await service.job(job_id)
    assert not store.restore_job(job_id, {"fields": {"status": "queued", "name": ""}})
    with pytest.raises(FencedError):  # another recovery has begun
        store.release_job(replace(token, claim_id="0123456789abcdef"), {"status": "stopped"})
    assert await service.job(job_id) == before
