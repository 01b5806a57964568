"""Nothing grows for ever: logs of many attempts, workers that never say good-bye, cuts."""

from __future__ import annotations

import time
from pathlib import Path

from job_store_bench import LOST, Bench, new_job, points

from artifact_store import FolderStore
from control_plane.archive import ArtifactArchive
from job_store.attempt_history import LOGGED_ATTEMPTS
from job_store.attempts import AttemptStore
from job_store.history import HistoryStore
from job_store.history_records import LogLine, MetricPoint
from job_store.records import FencingToken, Outcome, OutcomeKind, WorkerRecord, WorkerState
from job_store.workers import WorkerDirectory, WorkerRegistry
from training_worker.archive import PointArchive

HANDED_BACK = Outcome(OutcomeKind.HANDED_BACK)


async def test_logs_of_the_last_attempts_are_kept_whoever_brings_old_ones(bench: Bench) -> None:
    job, token = await bench.running()
    for attempt in range(1, 21):
        bench.attempts.append_logs(token, [LogLine(0, f"attempt {attempt}", 1)])
        if attempt == 12:  # stopped while it waited: an attempt that nobody claimed
            bench.attempts.finish(token, HANDED_BACK)
            await bench.jobs.request_stop(job.job_id)
            await bench.jobs.resume(job.job_id)
            token = bench.claim(await bench.jobs.get(job.job_id))
        elif attempt < 20:
            token = bench.claim(bench.attempts.finish(token, HANDED_BACK))
    newest = token.attempt
    for old in (1, 5, newest - LOGGED_ATTEMPTS):  # their spools are still there
        sent = bench.attempts.append_logs(token, [LogLine(0, "again", 1)], of_attempt=old)
        assert (sent.delivered, sent.duplicates) == (1, 1)
    streams = [
        int(key.rsplit(b":", 1)[1])
        for key in bench.worker.client.scan_iter(f"te:job:{job.job_id}:logs:*")
    ]
    assert min(streams) > newest - LOGGED_ATTEMPTS
    lines = (await bench.history.logs(job.job_id)).items
    assert [line.text for line in lines] == [f"attempt {n}" for n in range(13, 21)]


async def test_workers_that_died_long_ago_leave_the_list_unasked(bench: Bench) -> None:
    longest = int(time.time() * 1000) - 25 * 3600 * 1000
    bench.worker.command("ZADD", "te:workers", longest, "dead-1", longest, "dead-2")
    alive = WorkerRecord("alive", WorkerState.IDLE, "cpu", "host", 1, 1, 0)
    WorkerRegistry(bench.worker).heartbeat(alive)
    assert bench.worker.command("ZRANGE", "te:workers", 0, -1) == [b"alive"]
    assert [worker.worker_id for worker in await WorkerDirectory(bench.connection).list()] == [
        "alive"
    ]


def crash(bench: Bench, token: FencingToken) -> FencingToken:
    return bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST)))


async def test_a_cut_looks_at_no_more_points_than_it_needs(bench: Bench) -> None:
    """A claim holds the server up while it looks for the latest values before the cut."""
    job, token = await bench.running(max_retries=1000)
    for number in range(30):
        first = 100 * number
        bench.attempts.publish_metrics(token, points(first + 1, first + 105))
        bench.checkpoint(token, first + 100)
        bench.worker.client.config_resetstat()
        token = crash(bench, token)
    reads = bench.worker.client.info("commandstats")["cmdstat_xrevrange"]["calls"]
    assert reads <= 3
    latest = await bench.history.latest(job.job_id)
    assert (latest.step, latest.values["loss"]) == (3000, 1 / 3000)


async def test_latest_values_survive_a_cut_in_what_is_archived(
    bench: Bench, tmp_path: Path
) -> None:
    artifacts = FolderStore(tmp_path)
    store = AttemptStore(bench.worker, max_raw_points=400)
    history = HistoryStore(bench.connection, ArtifactArchive(artifacts))
    job = await bench.jobs.create(new_job(max_steps=10_000))
    claimed = store.claim(job.job_id, 1, "worker-1")
    assert claimed is not None
    archive = PointArchive(store, artifacts, claimed.token)
    for step in range(1, 3001):
        values = {"loss": 1 / step, "lr": 0.5} | (
            {"val_loss": 2.0 / step} if step % 70 == 0 else {}
        )
        store.publish_metrics(claimed.token, [MetricPoint(step, values, step)])
        archive.published(1)
        if step in (1000, 3000):
            bench.checkpoint(claimed.token, step)
    earlier = store.checkpoints(job.job_id)[0]
    await bench.jobs.request_stop(job.job_id)
    store.finish(claimed.token, Outcome(OutcomeKind.STOPPED))
    await bench.jobs.resume(job.job_id, checkpoint_id=earlier.checkpoint_id)
    latest = await history.latest(job.job_id)
    assert latest.step == 1000
    assert dict(latest.values) == {"loss": 1 / 1000, "lr": 0.5, "val_loss": 2.0 / 980}
    assert dict(latest.steps) == {"loss": 1000, "lr": 1000, "val_loss": 980}


async def test_a_cut_gives_up_a_metric_that_is_too_far_back(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, [MetricPoint(1, {"loss": 1.0, "rare": 1.0}, 1)])
    bench.checkpoint(token, 1)
    for first in range(2, 2402, 300):  # 8 attempts of 300 points
        token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED)))
        bench.attempts.publish_metrics(token, points(first, first + 299))
        bench.checkpoint(token, first + 299)
    bench.attempts.publish_metrics(token, points(2402, 2403))
    bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED)))
    assert dict((await bench.history.latest(job.job_id)).steps) == {"loss": 2401, "lr": 2401}
