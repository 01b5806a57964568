"""Workers that report themselves."""

from __future__ import annotations

from job_store_bench import Bench

from job_store.records import WorkerRecord, WorkerState
from job_store.workers import WorkerDirectory, WorkerRegistry


async def test_a_worker_that_reports_nothing_any_more_is_forgotten(bench: Bench) -> None:
    registry, directory = WorkerRegistry(bench.worker), WorkerDirectory(bench.connection)
    for name in ("dies", "lives"):
        registry.heartbeat(WorkerRecord(name, WorkerState.IDLE, "cpu", "host", 1, 0, 0))
    bench.worker.command("DEL", "te:worker:dies")  # as when it expires
    assert [worker.worker_id for worker in await directory.list()] == ["lives"]
    assert bench.worker.command("ZRANGE", "te:workers", 0, -1) == [b"lives"]
    await bench.connection.run("forget_workers", "lives")  # of a list that is out of date
    assert bench.worker.command("ZRANGE", "te:workers", 0, -1) == [b"lives"]
