"""Which artifact store the records belong to, and what they name in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_store_bench import Bench, new_job

from job_store.identity import ArtifactRecords
from job_store.records import Execution, JobRecord, JobStatus

WHY, OTHER_WHY = "its folder is empty", "it is another one"


@pytest.fixture
def records(bench: Bench) -> ArtifactRecords:
    return ArtifactRecords(bench.worker)


async def waiting(bench: Bench, device: str = "auto") -> JobRecord:
    return await bench.jobs.create(replace(new_job(), execution=Execution(device=device)))


async def message(bench: Bench, job: JobRecord) -> str:
    return (await bench.jobs.get(job.job_id)).message


async def test_an_id_is_recorded_once(records: ArtifactRecords) -> None:
    assert records.expected() == ""
    assert records.record("first") == "first"
    assert records.record("second") == "first"
    assert records.expected() == "first"


async def test_the_newest_checkpoints_of_the_newest_jobs_are_known(
    bench: Bench, records: ArtifactRecords
) -> None:
    assert records.known_artifacts() == []
    newest = []
    for _ in range(10):
        job, _ = await bench.in_state(JobStatus.STOPPED, (1, 2))
        newest.append((await bench.jobs.list_checkpoints(job.job_id)).checkpoints[-1].artifact)
        await bench.jobs.create(new_job())  # one without any
    assert records.known_artifacts() == newest[:1:-1]


async def test_jobs_that_wait_say_why_and_only_their_own_worker_takes_it_back(
    bench: Bench, records: ArtifactRecords
) -> None:
    job, gpu = await waiting(bench), await waiting(bench, "cuda")
    running, _ = await bench.running()
    unreadable = await waiting(bench)
    bench.worker.command("HSET", f"te:job:{unreadable.job_id}", "v", "2")
    records.explain_wait(WHY, "", cuda=False)
    said = f"waits for the artifact store: {WHY}"
    assert [await message(bench, one) for one in (job, gpu, running)] == [said, "", ""]
    assert bench.worker.command("HGET", f"te:job:{unreadable.job_id}", "message") == b""
    records.explain_wait(WHY, WHY, cuda=True)
    assert [await message(bench, one) for one in (job, gpu)] == [said, said]
    records.explain_wait(OTHER_WHY, "", cuda=True)  # of another worker
    records.explain_wait("", OTHER_WHY, cuda=True)
    assert [await message(bench, one) for one in (job, gpu)] == [said, said]
    records.explain_wait("", WHY, cuda=False)
    assert [await message(bench, one) for one in (job, gpu)] == ["", said]


async def test_saying_the_same_again_is_no_event(bench: Bench, records: ArtifactRecords) -> None:
    job = await waiting(bench)
    records.explain_wait(WHY, "", cuda=True)
    events = bench.worker.command("XLEN", f"te:job:{job.job_id}:events")
    records.explain_wait(WHY, WHY, cuda=True)
    assert bench.worker.command("XLEN", f"te:job:{job.job_id}:events") == events
