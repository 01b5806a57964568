"""What is acknowledged is in the journal, and what is wrong with a journal is said."""

from __future__ import annotations

import asyncio
import json
import shutil
import zlib

import pytest
from lost_service import LostService

from artifact_store import JournalFiles
from job_store.errors import NotJournaledError, RequestIdReusedError
from job_store.ids import new_id
from job_store.journal import JournalEntry
from job_store.records import JobStatus, NewJob, Outcome, OutcomeKind, Request
from recovery.journal import JournalVersionError


async def test_each_change_is_an_entry_and_two_are_kept(service: LostService) -> None:
    job_id = await service.start()
    assert len(service.entries("job", job_id)) == 1
    await service.jobs.request_stop(job_id)
    await service.jobs.resume(job_id)
    entries = [json.loads(path.read_bytes()) for path in service.entries("job", job_id)]
    assert [entry["fields"]["status"] for entry in entries] == ["stopped", "queued"]
    assert entries[0]["revision"] < entries[1]["revision"]
    await service.jobs.request_stop(job_id)
    await service.jobs.delete(job_id)
    assert service.entries("job", job_id) == []


async def test_entries_of_concurrent_calls_share_a_file_and_each_comes_back(
    service: LostService,
) -> None:
    names = [f"job {number}" for number in range(20)]
    ids = await asyncio.gather(*(service.start(name) for name in names))
    files = {path.stat().st_ino for id in ids for path in service.entries("job", id)}
    assert len(files) < len(ids)
    stopped, deleted, *others = ids
    await service.jobs.request_stop(stopped)
    await service.jobs.request_stop(deleted)
    await service.jobs.delete(deleted)
    service.lose_redis()
    states = {finding.id: (finding.name, finding.state) for finding in service.recover().findings}
    assert states == {stopped: (names[0], "stopped")} | {
        id: (name, "queued") for id, name in zip(others, names[2:], strict=True)
    }


async def test_an_entry_is_of_a_record_that_is_there_and_holds_what_its_kind_has(
    service: LostService,
) -> None:
    await service.jobs.record_in_journal(unknown := new_id("job"))
    assert service.entries("job", unknown) == []
    assert service.worker.command("EXISTS", f"te:job:{unknown}") == 0
    config = await service.configs.create("tiny", "{}")
    (path,) = service.entries("config", config.config_id)
    whole = {"v", "kind", "id", "revision", "fields", "store"}
    assert json.loads(path.read_bytes()).keys() == whole


async def test_a_change_that_the_journal_lacks_is_not_acknowledged(service: LostService) -> None:
    request = Request.of("once", "StartJob", b"body")
    new = NewJob("{}", 100, "/data/text", name="once")
    place = service.folder.root / "journal"
    place.write_text("not a folder")
    with pytest.raises(NotJournaledError, match="repeat the call with the same request_id"):
        await service.jobs.create(new, request)
    with pytest.raises(NotJournaledError):
        await service.jobs.answered(request)
    place.unlink()
    record = await service.jobs.answered(request)
    assert record is not None
    assert len(service.entries("job", record.job_id)) == 1


async def test_a_repeated_call_gets_its_record_also_after_a_recovery(service: LostService) -> None:
    request, other = Request.of("job", "StartJob", b"body"), Request.of("cfg", "Create", b"body")
    new = NewJob("{}", 100, "/data/text", name="once")
    job = await service.jobs.create(new, request)
    config = await service.configs.create("once", "{}", other)
    service.lose_redis()
    service.recover()
    again = await service.jobs.create(new, request)
    assert (again.job_id, again.status) == (job.job_id, JobStatus.QUEUED)
    assert (await service.configs.create("once", "{}", other)).config_id == config.config_id
    assert await service.jobs.count() == 1
    with pytest.raises(RequestIdReusedError):
        await service.jobs.create(new, Request.of("job", "StartJob", b"another body"))


async def test_repeated_stops_resumes_and_deletions_are_known_after_a_recovery(
    service: LostService,
) -> None:
    names = ("StopJob", "ResumeJob", "DeleteCheckpoint")
    stop, resume, delete = (Request.of(name, name, b"body") for name in names)
    jobs, job_id = service.jobs, await service.start()
    token = service.claim(job_id)
    kept, dropped = service.save(token, 3), service.save(token, 6)
    await jobs.request_stop(job_id, stop)
    service.attempts.finish(token, Outcome(OutcomeKind.STOPPED))
    await jobs.delete_checkpoint(dropped.checkpoint_id, delete)
    resumed = await jobs.resume(job_id, request=resume)
    service.lose_redis()
    service.recover()
    again = await jobs.resume(job_id, request=resume)
    assert (again.attempt, again.status) == (resumed.attempt, JobStatus.QUEUED)
    assert (await jobs.request_stop(job_id, stop)).status is JobStatus.QUEUED
    await jobs.delete_checkpoint(dropped.checkpoint_id, delete)
    left = (await jobs.list_checkpoints(job_id)).checkpoints
    assert [one.checkpoint_id for one in left] == [kept.checkpoint_id]
    with pytest.raises(RequestIdReusedError):
        await jobs.request_stop(job_id, Request.of("StopJob", "StopJob", b"another body"))


async def test_a_late_entry_brings_no_deleted_job_back(service: LostService) -> None:
    job_id = await service.start()
    await service.jobs.request_stop(job_id)
    entry = service.attempts.journal_entry(job_id)
    assert entry is not None
    service.worker.command("ZADD", "te:jobs:sweep", 0, job_id)
    assert not service.attempts.was_deleted(job_id)  # one that is there may wait for a sweep, too
    await service.jobs.delete(job_id)
    files = JournalFiles(service.artifacts)
    files.write(entry)  # its writer was frozen
    assert service.attempts.was_deleted(job_id)
    service.lose_redis()
    assert not service.attempts.was_deleted(job_id)  # forgotten is not deleted


async def test_an_entry_of_another_version_is_refused_and_nothing_changes(
    service: LostService,
) -> None:
    job_id = await service.start()
    entry = json.loads(service.entries("job", job_id)[0].read_bytes()) | {"v": "2"}
    document = json.dumps(entry).encode()
    newest = JournalEntry("job", job_id, 1 << 53, document, is_first=False)
    JournalFiles(service.artifacts).write(newest)
    service.lose_redis()
    with pytest.raises(JournalVersionError, match="recover with the release that wrote it"):
        service.recover()
    assert service.worker.command("DBSIZE") == 0


async def test_a_damaged_entry_is_passed_over_for_the_one_before(service: LostService) -> None:
    job_id = await service.start()
    await service.jobs.request_stop(job_id)
    newest = service.entries("job", job_id)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    service.lose_redis()
    found = service.finding(job_id)
    assert found.state == "queued"
    assert "is damaged and passed over (its bytes are not those that were" in found.remarks[0]


async def test_a_job_whose_entries_are_all_damaged_is_left_out(service: LostService) -> None:
    damaged, other = await service.start("damaged"), await service.start("other")
    service.entries("job", damaged)[0].write_bytes(b"{")
    service.lose_redis()
    report = {finding.id: finding for finding in service.recover().findings}
    assert (report[damaged].state, report[other].state) == ("left out", "queued")
    assert report[damaged].remarks[-1] == "no entry of its journal can be read"
    assert len(service.entries("job", damaged)) == 1


async def test_an_entry_of_another_store_is_left_out(service: LostService) -> None:
    job_id = await service.start()
    path = service.entries("job", job_id)[0]
    document = path.read_bytes().replace(service.store_id.encode(), b"store_of_another")
    path.unlink()
    path.with_name(f"{job_id}.{1:016d}-{zlib.crc32(document):08x}.json").write_bytes(document)
    service.lose_redis()
    found = service.finding(job_id)
    assert found.state == "left out"
    assert "is of the artifact store store_of_another" in found.remarks[0]


async def test_a_store_without_a_journal_is_recovered_from_its_files(service: LostService) -> None:
    job_id = await service.start("forgotten")
    token = service.claim(job_id)
    service.log(token, range(1, 8))
    service.save(token, 3)
    saved = service.save(token, 6)
    config = "model_config: {vocab_size: 256}\nmax_steps: 100\ndataset_path: /data/text\n"
    (service.path(token) / "config.yaml").write_text(config)
    empty = await service.start("never ran")
    created_at = (await service.job(job_id)).created_at
    service.lose_redis()
    service.lose_journal()

    report = service.recover()

    (found,) = report.findings
    assert (found.id, found.state, found.checkpoints, found.points) == (job_id, "stopped", 2, 7)
    assert "it has no journal" in found.remarks[0]
    job = await service.job(job_id)
    assert (job.max_steps, job.dataset_path, job.current_step) == (100, "/data/text", 6)
    assert abs(job.created_at - created_at) < 1000
    assert await service.steps(job_id) == list(range(1, 8))
    checkpoints = (await service.jobs.list_checkpoints(job_id)).checkpoints
    assert [(one.step, one.is_best, one.sha256) for one in checkpoints][-1] == (
        6, True, saved.sha256,
    )  # fmt: skip
    resumed = await service.jobs.resume(job_id)
    assert (resumed.attempt, resumed.resumed_from_step) == (2, 6)
    assert await service.jobs.count(JobStatus.QUEUED) == 1, empty


async def test_files_of_a_deleted_job_are_no_job(service: LostService) -> None:
    job_id = await service.start("deleted")
    token = service.claim(job_id)
    service.save(token, 3)
    service.attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    JournalFiles(service.artifacts).set_complete()
    await service.jobs.delete(job_id)  # its files stay, as where a trainer writes late
    service.lose_redis()
    found = service.finding(job_id)
    assert (found.state, "it was deleted" in found.remarks[0]) == ("left out", True)
    assert service.path(token).is_dir()
    shutil.rmtree(service.path(token))
