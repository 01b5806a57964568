"""An artifact store that is away, or another one, is never taken for an empty one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis_server import RedisServer
from test_worker_outage import END, declare_lost
from training_site import Site, comparable, connected

from artifact_store import (
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    FolderStore,
    GuardedStore,
)
from job_store.connection import Connection
from job_store.identity import ArtifactRecords
from job_store.jobs import JobStore
from job_store.records import Execution, JobStatus

RUN = {"max_steps": 300, "save_steps": 40, "eval_steps": 1000, "max_checkpoints_to_keep": 2}


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """Another, empty folder in its place: what a mount point is without its volume."""
    elsewhere = folder.with_name("volume")
    folder.rename(elsewhere)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder)
        elsewhere.rename(folder)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def resume(site: Site, job_id: str) -> None:
    async def run() -> None:
        async with connected(site.url) as db:
            await JobStore(db).resume(job_id)

    asyncio.run(run())
    site.send(job_id)


def stopped_job(site: Site, execution: Execution | None = None) -> str:
    """A job that stands at its second checkpoint or later."""
    site.worker()
    job_id = site.submit(execution, **RUN)
    site.wait_for(lambda: len(site.store.checkpoints(job_id)) == 2)
    site.stop(job_id)
    assert site.wait(job_id, *END).status is JobStatus.STOPPED
    return job_id


# -- which store it is -----------------------------------------------------------------------


def test_one_id_is_made_and_found_again(own_server: RedisServer, tmp_path: Path) -> None:
    records = [ArtifactRecords(Connection.open(own_server.url())) for _ in range(8)]
    stores = [GuardedStore(FolderStore(tmp_path / "artifacts")) for _ in records]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: each[0].recognise(each[1]), zip(stores, records, strict=True)))
    ids = {store.expected for store in stores} | {records[0].expected()}
    assert ids == {(tmp_path / "artifacts/.store-id").read_text().strip()}
    assert os.listdir(tmp_path / "artifacts") == [".store-id"]
    other = GuardedStore(FolderStore(tmp_path / "other"))
    with pytest.raises(ArtifactStoreAwayError, match=r"other carries no identity.*mount its vol"):
        other.recognise(records[0])
    other.make_identity("store_of_another_service")
    with pytest.raises(ArtifactStoreAwayError, match="is the artifact store store_of_another_serv"):
        other.recognise(records[0])


def test_a_folder_without_an_id_is_known_by_the_files_that_the_records_name(site: Site) -> None:
    """As a release that knew no ids left them; or copied without the hidden file."""
    stopped_job(site)
    records = ArtifactRecords(Connection.open(site.url))
    known = site.store_of_artifacts().expected
    empty = GuardedStore(FolderStore(site.artifacts.with_name("empty")))
    (site.artifacts / ".store-id").unlink()
    with pytest.raises(ArtifactStoreAwayError, match="carries no identity"):
        empty.recognise(records)
    assert site.store_of_artifacts().expected == known
    site._connection.command("DEL", "te:artifact_store")
    (site.artifacts / ".store-id").unlink()
    with pytest.raises(ArtifactStoreAwayError, match="holds none of the artifacts"):
        empty.recognise(records)
    assert files(site.artifacts.with_name("empty")) == []
    assert site.store_of_artifacts().expected.startswith("store_")


def test_an_absence_is_believed_only_of_the_right_store(
    own_server: RedisServer, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts"
    store = GuardedStore(FolderStore(folder))
    with pytest.raises(ArtifactStoreAwayError, match="not yet recognised"):
        store.put("jobs/a", [b"x"])
    store.recognise(ArtifactRecords(Connection.open(own_server.url())))
    store.put("jobs/a", [b"x"])
    with pytest.raises(ArtifactNotFoundError):
        store.stat("jobs/b")
    with away(folder):
        for call in (store.stat, store.open_range, store.delete, store.delete_prefix, store.keys):
            with pytest.raises(ArtifactStoreAwayError, match="carries no identity"):
                call("jobs/a")
        with pytest.raises(ArtifactStoreAwayError):
            store.writer("jobs/c")
    assert store.holds("jobs/a", 1)
    (folder / ".store-id").unlink()
    (folder / ".store-id").mkdir()
    with pytest.raises(ArtifactStoreAwayError, match=r"cannot be read \(Is a directory\)"):
        store.delete("jobs/a")


# -- what a job does meanwhile ---------------------------------------------------------------


def test_a_job_waits_for_its_store_and_goes_on_as_if_nothing_had_happened(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(Execution(max_retries=0), **RUN)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    horse = site.horse(worker)
    os.kill(horse, signal.SIGSTOP)
    before = files(site.artifacts)
    with away(site.artifacts):
        os.kill(horse, signal.SIGKILL)
        assert site.wait(job_id, JobStatus.QUEUED).attempt == 2
        site.send(job_id)
        site.wait_for(lambda: site.job(job_id).message.startswith("waits for the artifact"))
        # An entry of the journal may have been under way; it is written again.
        assert [name for name in files(site.artifacts) if not name.startswith("journal/")] == []
    assert [name for name in before if name not in files(site.artifacts)] == []
    done = site.wait(job_id, *END)
    assert (done.status, done.attempt, done.message) == (JobStatus.SUCCEEDED, 2, "")
    assert done.resumed_from_step
    undisturbed = site.submit(**RUN)
    site.wait(undisturbed, JobStatus.SUCCEEDED)
    assert comparable(site.history(job_id)) == comparable(site.history(undisturbed))
    weights, expected = site.weights(job_id), site.weights(undisturbed)
    assert all(weights[name].equal(expected[name]) for name in expected)


def test_a_worker_with_another_folder_takes_nothing_and_says_so(site: Site, tmp_path: Path) -> None:
    first = site.worker()
    job_id = site.submit(**RUN)
    site.wait_for(lambda: site.store.checkpoints(job_id))
    first.kill()
    first.wait()
    declare_lost(site, site.job(job_id))
    site.send(job_id)
    other = site.start_worker(artifact_root=tmp_path / "other", worker_id="other")
    site.wait_for(lambda: "(worker other)" in site.job(job_id).message)
    assert files(tmp_path / "other") == []
    assert other.poll() is None
    other.kill()
    other.wait()
    site.worker()
    done = site.wait(job_id, *END)
    assert (done.status, done.attempt, done.message) == (JobStatus.SUCCEEDED, 2, "")


def test_a_run_that_loses_its_store_trains_on_and_saves_later(site: Site) -> None:
    site.worker()
    job_id = site.submit(**RUN | {"max_steps": 100_000})
    site.wait_for(lambda: len(site.store.checkpoints(job_id)) == 2)
    with away(site.artifacts):
        message = site.wait_for(
            lambda: m if (m := site.job(job_id).message).startswith("nothing could") else ""
        )
        assert "the artifact store is not available" in message
        kept = [one.step for one in site.store.checkpoints(job_id)]
        assert files(site.artifacts) == []
    site.wait_for(lambda: site.store.checkpoints(job_id)[-1].step > kept[-1])
    site.wait_for(lambda: site.job(job_id).message == "")
    site.stop(job_id)
    done = site.wait(job_id, *END)
    assert (done.status, done.attempt) == (JobStatus.STOPPED, 1)
    steps = [step for step, _ in site.history(job_id)]
    assert steps == list(range(1, done.current_step + 1))
    for one in site.store.checkpoints(job_id):
        assert (site.artifacts / one.artifact).stat().st_size == one.size_bytes


def test_a_missing_file_fails_the_job_and_loses_nothing(site: Site) -> None:
    job_id = stopped_job(site, Execution(max_retries=0))
    before, history = site.store.checkpoints(job_id), site.history(job_id)
    newest = site.artifacts / before[-1].artifact
    newest.rename(newest.with_suffix(".aside"))
    resume(site, job_id)
    failed = site.wait(job_id, *END)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.reason == "RESUME_IMPOSSIBLE"
    for part in (before[-1].artifact, "--from-start", "--checkpoint ID", "put it back and resume"):
        assert part in failed.error.message
    assert site.store.checkpoints(job_id) == before
    assert site.history(job_id) == history
    newest.with_suffix(".aside").rename(newest)
    resume(site, job_id)
    done = site.wait(job_id, *END)
    assert (done.status, done.resumed_from_step) == (JobStatus.SUCCEEDED, before[-1].step)


def test_a_job_all_of_whose_checkpoints_are_damaged_begins_again_and_says_so(site: Site) -> None:
    job_id = stopped_job(site)
    for one in site.store.checkpoints(job_id):
        path = site.artifacts / one.artifact
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    newest = site.store.checkpoints(job_id)[-1].step
    resume(site, job_id)
    said = site.wait_for(lambda: site.job(job_id).message)
    assert said == (
        f"all registered checkpoints (2) are damaged, the newest of step {newest}: the job began "
        "again at step 0"
    )
    done = site.wait(job_id, *END)
    assert (done.status, done.resumed_from_step) == (JobStatus.SUCCEEDED, None)
    assert [step for step, _ in site.history(job_id)] == list(range(1, RUN["max_steps"] + 1))


def test_an_older_checkpoint_that_is_missing_is_no_reason_to_begin_again(site: Site) -> None:
    job_id = stopped_job(site, Execution(max_retries=0))
    older, newest = (site.artifacts / one.artifact for one in site.store.checkpoints(job_id))
    newest.write_bytes(b"?" + newest.read_bytes()[1:])
    older.unlink()
    resume(site, job_id)
    failed = site.wait(job_id, *END)
    assert failed.error is not None
    assert failed.error.reason == "RESUME_IMPOSSIBLE"
    assert len(site.store.checkpoints(job_id)) == 2
