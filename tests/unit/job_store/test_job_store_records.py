"""Configs, datasets, workers, job lists; records that are old or damaged; the connection."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from job_store_bench import Bench, new_job, points
from redis_server import RedisServer, free_port

from job_store import errors, ids
from job_store.attempts import AttemptStore
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection, Connection
from job_store.errors import (
    InvalidPageTokenError,
    NotFoundError,
    RecordVersionError,
    StoreUnavailableError,
)
from job_store.records import (
    Execution,
    JobFilter,
    JobRecord,
    JobStatus,
    NewJob,
    Priority,
    Request,
    WorkerRecord,
    WorkerState,
)
from job_store.scripts import script
from job_store.workers import WorkerDirectory, WorkerRegistry


async def test_a_job_comes_back_as_it_was_given(bench: Bench) -> None:
    execution = Execution(Priority.HIGH, 2, 3, "cuda", 0, 0.5, 1.25)
    new = NewJob(
        config_document='{"näme": "€", "x": "' + "y" * 10_000_000 + '"}',
        max_steps=10**12,
        dataset_path="/data/ü\n'\"{}",
        name="</script> \\ \u2028 名前",
        val_dataset_path="dataset://x",
        tokenizer="byte",
        config_id="cfg",
        execution=execution,
        warnings=("a", "ß"),
        data_roots=("/data", "/ü"),
    )
    job = await bench.jobs.create(new)
    assert job.data_roots == ("/data", "/ü")
    read = await bench.jobs.get(job.job_id)
    assert read == job
    assert bench.attempts.get(job.job_id) == job
    for field in ("config_document", "max_steps", "dataset_path", "name", "execution", "warnings"):
        assert getattr(read, field) == getattr(new, field)
    assert abs(read.created_at - time.time() * 1000) < 60_000
    (listed,) = (await bench.jobs.list()).items
    assert (listed.name, listed.config_document) == (new.name, "")
    assert (await bench.jobs.get(job.job_id, with_config=False)) == listed


async def test_jobs_are_listed_newest_first_and_pages_survive_inserts(bench: Bench) -> None:
    created = [(await bench.jobs.create(new_job(name=str(i)))).name for i in range(25)]
    names, token = [], ""
    while True:
        page = await bench.jobs.list(JobFilter(JobStatus.QUEUED), page_size=10, page_token=token)
        names += [job.name for job in page.items]
        token = page.next_page_token
        if not token:
            break
        await bench.jobs.create(new_job(name="later"))
    assert sorted(names, key=int) == sorted(created, key=int)
    assert (await bench.jobs.list(JobFilter(JobStatus.RUNNING))).items == ()
    times = [job.created_at for job in (await bench.jobs.list()).items]
    assert times == sorted(times, reverse=True)
    token = (await bench.jobs.list(page_size=1)).next_page_token
    with pytest.raises(InvalidPageTokenError, match="it belongs to 'all', not to 'failed'"):
        await bench.jobs.list(JobFilter(JobStatus.FAILED), page_token=token)
    with pytest.raises(InvalidPageTokenError, match="pass next_page_token of the previous page"):
        await bench.jobs.list(page_token="nonsense")


async def test_jobs_are_found_by_name_and_by_the_beginning_of_an_id(bench: Bench) -> None:
    odd = "na|me: 名前 " + "x" * 180
    twins = [await bench.jobs.create(new_job(name=str(number))) for number in range(3)]
    for twin in twins:  # as records of an older version may share a name
        await bench.connection.command("ZADD", f"te:jobs:name:{odd}", 0, twin.job_id)
        await bench.connection.command("HSET", f"te:job:{twin.job_id}", "name", odd)
    other = await bench.jobs.create(new_job(name=odd + "y"))
    unnamed = await bench.jobs.create(new_job(name=""))

    async def ids_of(**wanted: str) -> list[str]:
        return [job.job_id for job in (await bench.jobs.list(JobFilter(**wanted))).items]  # type: ignore[arg-type]

    newest_first = [job.job_id for job in reversed(twins)]
    assert await ids_of(name=odd) == newest_first
    assert await ids_of(name=odd + "y") == [other.job_id]
    assert await ids_of(name="all") == []
    page = await bench.jobs.list(JobFilter(name=odd), page_size=2)
    assert [job.job_id for job in page.items] == newest_first[:2]
    rest = await bench.jobs.list(JobFilter(name=odd), page_size=2, page_token=page.next_page_token)
    assert ([job.job_id for job in rest.items], rest.next_page_token) == (newest_first[2:], "")
    with pytest.raises(InvalidPageTokenError, match="it belongs to 'name:"):
        await bench.jobs.list(JobFilter(name=odd + "y"), page_token=page.next_page_token)

    await bench.jobs.request_stop(twins[1].job_id)
    stopped = await bench.jobs.list(JobFilter(JobStatus.STOPPED, odd))
    assert [job.job_id for job in stopped.items] == [twins[1].job_id]

    assert await ids_of(id_prefix=unnamed.job_id[:-1]) == [unnamed.job_id]
    assert len(await ids_of(id_prefix="job_0")) == 5
    assert await ids_of(id_prefix="job_0z") == []
    assert await ids_of(id_prefix=twins[0].job_id, name=odd) == [twins[0].job_id]
    page = await bench.jobs.list(JobFilter(id_prefix="job_0"), page_size=3)
    rest = await bench.jobs.list(
        JobFilter(id_prefix="job_0"), page_size=3, page_token=page.next_page_token
    )
    assert len({job.job_id for job in (*page.items, *rest.items)}) == 5

    await bench.jobs.delete(twins[1].job_id)
    assert await ids_of(name=odd) == [newest_first[0], newest_first[2]]


async def test_a_name_that_another_job_has_gets_a_number_and_a_warning(bench: Bench) -> None:
    async def started(name: str, *warnings: str) -> JobRecord:
        new = replace(new_job(name=name), warnings=warnings)
        return await bench.jobs.create(new)

    odd = 'a "name"/ü'
    assert (await started(odd, "w")).warnings == ("w",)
    names = [(await started(odd)).name for _ in range(12)]
    assert names == [f"{odd}-{number}" for number in range(2, 14)]
    again = await started(odd, "w")
    assert (again.name, again.warnings) == (
        f"{odd}-14",
        ("w", f"name: another job is named '{odd}'; this one is named '{odd}-14'"),
    )
    assert (await bench.jobs.get(again.job_id)).warnings == again.warnings
    for name in (odd, f"{odd}-5"):
        (job,) = (await bench.jobs.list(JobFilter(name=name))).items
        await bench.jobs.delete(job.job_id)
        assert (await started(name)).name == name  # free again
    unnamed = [await started("") for _ in range(2)]
    assert {job.name for job in unnamed} == {""}


async def test_a_repeated_start_keeps_its_name(bench: Bench) -> None:
    request = Request.of("once", "StartJob", b"body")
    first = await bench.jobs.create(new_job(name="mine"), request)
    assert (await bench.jobs.create(new_job(name="mine"), request)).name == first.name == "mine"


def test_ids_sort_by_time_and_are_checked() -> None:
    made = []
    for _ in range(3):
        made.append(ids.new_id("job"))
        time.sleep(0.002)
    assert made == sorted(made)
    assert len({ids.new_id("job") for _ in range(1000)}) == 1000
    assert ids.check_id("job", made[0]) == made[0]
    for bad in (made[0] + "\n", made[0].upper(), made[0][:-1], "cfg" + made[0][3:], "jöb_x"):
        with pytest.raises(NotFoundError, match="there is no job"):
            ids.check_id("job", bad)
    assert ids.check_worker_id("host.example:12-a") == "host.example:12-a"
    with pytest.raises(ValueError, match="worker_id is 'a b'; it must be 1 to 128 letters"):
        ids.check_worker_id("a b")


async def test_configs_are_created_once_listed_and_deleted(bench: Bench) -> None:
    store = ConfigStore(bench.connection)
    request = Request.of("r1", "CreateConfig", b"1")
    first = await store.create("small", '{"a": 1.5}', request)
    assert (await store.create("small", '{"a": 1.5}', request)) == first
    assert await store.get(first.config_id) == first
    others = [await store.create(str(i), "{}") for i in range(4)]
    page = await store.list(page_size=3)
    rest = await store.list(page_size=3, page_token=page.next_page_token)
    assert {c.config_id for c in (*page.items, *rest.items)} == {
        c.config_id for c in (first, *others)
    }
    assert rest.next_page_token == ""
    removal = Request.of("r2", "DeleteConfig", b"")
    await store.delete(first.config_id, removal)
    await store.delete(first.config_id, removal)
    with pytest.raises(NotFoundError, match=f"there is no config '{first.config_id}'"):
        await store.get(first.config_id)
    with pytest.raises(NotFoundError):
        await store.delete(first.config_id)


async def test_datasets_are_kept_for_workers_too(bench: Bench) -> None:
    store = DatasetStore(bench.connection)
    id = ids.new_id("dataset")
    request = Request.of("up", "UploadDataset", b"")
    made = await store.create("d", 3, "aa", f"datasets/{id}", dataset_id=id, request=request)
    assert made.dataset_id == id
    again = await store.create("d", 3, "aa", "datasets/other", request=request)
    assert again == made == await store.get(id)
    assert WorkerRegistry(bench.worker).get_dataset(id) == made
    assert (await store.list()).items == (made,)
    await store.delete(id)
    with pytest.raises(NotFoundError, match="there is no dataset"):
        WorkerRegistry(bench.worker).get_dataset(id)


def worker(name: str, state: WorkerState = WorkerState.IDLE) -> WorkerRecord:
    return WorkerRecord(name, state, "cpu", "höst", 42, 1_700_000_000_000, 0, "job", 2)


async def test_workers_appear_and_expire(bench: Bench) -> None:
    directory = WorkerDirectory(bench.connection)
    WorkerRegistry(bench.worker).heartbeat(worker("b", WorkerState.BUSY))
    WorkerRegistry(bench.worker, ttl_seconds=0.05).heartbeat(worker("a"))
    deadline = time.monotonic() + 10
    while len(found := await directory.list()) > 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert [(w.worker_id, w.state, w.pid, w.hostname) for w in found] == [("b", "busy", 42, "höst")]
    assert abs(found[0].last_heartbeat - 1000 * time.time()) < 60_000
    assert bench.worker.command("ZCARD", "te:workers") == 1
    WorkerRegistry(bench.worker).leave("b")
    assert await directory.list() == []


# old and damaged records


async def test_a_record_of_another_version_is_named_and_hides_no_other(bench: Bench) -> None:
    old, token = await bench.running()
    fine = await bench.jobs.create(new_job())
    bench.worker.command("HSET", f"te:job:{old.job_id}", "v", "0")
    expected = f"job {old.job_id} is stored as version 0, and this program reads version 1"
    with pytest.raises(RecordVersionError, match=expected):
        await bench.jobs.get(old.job_id)
    with pytest.raises(RecordVersionError, match=expected):
        await bench.jobs.request_stop(old.job_id)
    with pytest.raises(RecordVersionError, match=expected):
        bench.attempts.publish_metrics(token, points(1, 1))
    with pytest.raises(RecordVersionError, match=expected):
        bench.attempts.claim(old.job_id, 1, "worker-1")
    assert [job.job_id for job in (await bench.jobs.list()).items] == [fine.job_id]
    assert await bench.jobs.get(fine.job_id) == fine


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("status", "melting", "'melting' is not a valid JobStatus"),
        ("attempt", "two", "invalid literal for int"),
        ("error", "{", "a damaged record"),
        ("notes", None, "no field 'notes'"),
    ],
)
async def test_a_damaged_record_is_named(
    bench: Bench, field: str, value: str | None, why: str
) -> None:
    job = await bench.jobs.create(new_job())
    key = f"te:job:{job.job_id}"
    if value is None:
        bench.worker.command("HDEL", key, field)
    else:
        bench.worker.command("HSET", key, field, value)
    with pytest.raises(RecordVersionError, match=why):
        await bench.jobs.get(job.job_id)
    assert (await bench.jobs.list()).items == ()


async def test_an_old_record_can_still_be_deleted(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    bench.worker.command("HSET", f"te:job:{job.job_id}", "v", "0")
    await bench.jobs.delete(job.job_id)
    with pytest.raises(NotFoundError):
        await bench.jobs.get(job.job_id)


# the connection


async def test_scripts_survive_a_flushed_script_cache(bench: Bench) -> None:
    job = await bench.jobs.create(new_job())
    bench.worker.command("SCRIPT", "FLUSH")
    token = bench.claim(job)
    bench.worker.command("SCRIPT", "FLUSH")
    assert (await bench.jobs.request_stop(job.job_id)).status is JobStatus.STOPPING
    assert bench.attempts.renew_lease(token).stop_requested is True


async def test_an_absent_server_is_unavailable_within_seconds() -> None:
    connection = AsyncConnection.open(f"redis://:secret-word@127.0.0.1:{free_port()}/0")
    start = time.monotonic()
    with pytest.raises(
        StoreUnavailableError, match=r"is not available.*try again shortly"
    ) as caught:
        await connection.ping()
    assert time.monotonic() - start < 5
    assert "secret-word" not in str(caught.value)
    await connection.close()


async def test_a_frozen_server_is_unavailable_within_seconds(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    connection = AsyncConnection.open(server.url())
    try:
        await connection.ping()
        server.pause()
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(connection.ping(), 15)
        server.resume()
        await connection.ping()
    finally:
        await connection.close()
        server.stop()


async def test_a_wrong_password_says_so_and_stays_secret(redis_server: RedisServer) -> None:
    url = redis_server.url().replace(redis_server.password, "wrong-word")
    connection = AsyncConnection.open(url)
    with pytest.raises(StoreUnavailableError, match="refuses the password") as caught:
        await connection.ping()
    assert "wrong-word" not in str(caught.value)
    await connection.close()
    with pytest.raises(ValueError, match="the Redis URL begins with 'http'") as refused:
        Connection.open("http://:wrong-word@host")
    assert "wrong-word" not in str(refused.value)


async def test_a_worker_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    connection, worker = AsyncConnection.open(server.url()), Connection.open(server.url())
    try:
        bench = Bench(connection, worker)
        job, token = await bench.running()
        bench.attempts.publish_metrics(token, points(1, 3))
        server.kill()
        publishing = asyncio.create_task(
            asyncio.to_thread(AttemptStore(worker).publish_metrics, token, points(1, 6))
        )
        await asyncio.sleep(0)
        server.start()
        assert (await publishing).duplicates == 3
        assert [p.step for p in (await bench.history.page(job.job_id)).points] == [*range(1, 7)]
    finally:
        await connection.close()
        worker.close()
        server.stop()


def test_every_script_says_what_it_takes_and_returns_and_names_its_arguments_once() -> None:
    folder = Path(inspect.getfile(errors)).parent / "scripts"
    shared = {
        "prelude",
        "fence",
        "memo",
        "record",
        "attempts",
        "transitions",
        "summaries",
        "visible",
        "emit",
        "alerts",
    }
    for path in folder.glob("*.lua"):
        if path.stem in shared:
            continue
        head, body = path.read_text().split("--- @include prelude\n")
        assert head.startswith(f"-- {path.stem}: prefix"), path.stem
        assert re.search(r"[Rr]eturns", head), path.stem
        text = script(path.stem).text
        assert text.startswith(head)
        assert "@include" not in text
        _arguments, _, rest = body.partition("\n\n")
        assert not re.findall(r"ARGV\[\d+\]", rest), path.stem


def test_error_codes_are_stable() -> None:
    codes = {
        name: item.code
        for name, item in vars(errors).items()
        if inspect.isclass(item) and issubclass(item, errors.JobStoreError)
    }
    assert codes == {
        "JobStoreError": "JOB_STORE_ERROR",
        "NotFoundError": "NOT_FOUND",
        "TransitionRefusedError": "TRANSITION_REFUSED",
        "TooManyTagsError": "INVALID_ARGUMENT",
        "RequestIdReusedError": "REQUEST_ID_REUSED",
        "FencedError": "FENCED",
        "InvalidCursorError": "INVALID_CURSOR",
        "InvalidPageTokenError": "INVALID_PAGE_TOKEN",
        "RecordVersionError": "RECORD_VERSION",
        "SegmentUnreadableError": "ARTIFACT_DAMAGED",
        "FeedsClosedError": "SHUTTING_DOWN",
        "StoreUnavailableError": "STORE_UNAVAILABLE",
        "NotOnDiskError": "STORE_UNAVAILABLE",
        "NotJournaledError": "STORE_UNAVAILABLE",
    }
