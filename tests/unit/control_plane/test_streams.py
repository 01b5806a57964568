"""WatchJob and StreamMetrics over a real channel: replay, live, cursors, rewinds, the end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from failure import failure_of, read_failure
from started import running_job

from control_plane.server import ControlPlane
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.history_records import LogLine, MetricPoint
from job_store.ids import new_id
from job_store.records import CheckpointRecord, FencingToken, Outcome, OutcomeKind
from training_engine.v1 import job_pb2, metrics_pb2
from training_worker.archive import PointArchive


def points(*steps: int) -> list[MetricPoint]:
    return [MetricPoint(step, {"loss": 10.0 / step}, 1_000 * step) for step in steps]


async def rest_of(call: Any) -> list[Any]:
    """What a stream still tells until its end, which must come soon."""
    found = []
    async with asyncio.timeout(30):
        while (response := await call.read()) is not grpc.aio.EOF:
            found.append(response)
    return found


def save(attempts: AttemptStore, token: FencingToken, step: int) -> CheckpointRecord:
    record = CheckpointRecord(
        checkpoint_id=new_id("checkpoint"),
        job_id=token.job_id,
        attempt=token.attempt,
        step=step,
        loss=2.5,
        size_bytes=3,
        sha256="ab" * 32,
        artifact=f"jobs/{token.job_id}/{step}.pt",
        created_at=0,
    )
    attempts.register_checkpoint(token, record)
    return record


async def test_watch_tells_the_whole_life_and_ends_with_it(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.append_logs(token, [LogLine(0, "hello", 1, "stderr")])
    attempts.publish_metrics(token, points(1, 2))
    checkpoint = save(attempts, token, 2)
    watch = stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job_id))
    events = [await watch.read() for _ in range(5)]
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    events += await rest_of(watch)
    states = [event.state.status for event in events if event.WhichOneof("event") == "state"]
    assert states == [
        job_pb2.JOB_STATUS_QUEUED,
        job_pb2.JOB_STATUS_RUNNING,
        job_pb2.JOB_STATUS_SUCCEEDED,
    ]
    assert [e.metrics.step for e in events if e.WhichOneof("event") == "metrics"] == [1, 2]
    logs = [e.log for e in events if e.WhichOneof("event") == "log"]
    assert [(line.text, line.stream, line.attempt) for line in logs] == [("hello", "stderr", 1)]
    saved = [e.checkpoint for e in events if e.WhichOneof("event") == "checkpoint"]
    assert [(c.checkpoint_id, c.step) for c in saved] == [(checkpoint.checkpoint_id, 2)]
    last = job_pb2.WatchJobRequest(job_id=job_id, after=events[-1].cursor)
    assert await rest_of(stubs.jobs.WatchJob(last)) == []


async def test_a_stream_continues_after_its_cursor_and_follows(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1, 2, 3))
    stream = stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
    first = await stream.read()
    assert (first.point.step, first.point.loss, first.point.attempt) == (1, 10.0, 1)
    assert first.point.created_at.seconds == 1
    stream.cancel()
    request = metrics_pb2.StreamMetricsRequest(job_id=job_id, after=first.cursor)
    continued = stubs.metrics.StreamMetrics(request)
    assert [(await continued.read()).point.step for _ in range(2)] == [2, 3]
    attempts.publish_metrics(token, points(4))
    assert (await asyncio.wait_for(continued.read(), 30)).point.step == 4
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert await rest_of(continued) == []


async def test_after_step_passes_over_what_is_known(stubs: Any, attempts: AttemptStore) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1, 2, 3))
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    request = metrics_pb2.StreamMetricsRequest(job_id=job_id, after_step=2)
    rest = await rest_of(stubs.metrics.StreamMetrics(request))
    assert [response.point.step for response in rest] == [3]


async def test_a_point_comes_with_its_validation_and_at_once(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts, eval_steps=5)
    stream = stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
    validated = MetricPoint(5, {"loss": 2.0, "val_loss": 2.5}, 5_000)
    attempts.publish_metrics(token, [*points(4), validated])
    assert (await stream.read()).point.step == 4
    fifth = await asyncio.wait_for(stream.read(), 30)  # nothing has to follow it
    assert (fifth.point.step, fifth.point.loss, fifth.point.val_loss) == (5, 2.0, 2.5)
    attempts.publish_metrics(token, points(6))
    request = metrics_pb2.StreamMetricsRequest(job_id=job_id, after=fifth.cursor)
    again = stubs.metrics.StreamMetrics(request)
    assert (await again.read()).point.step == 6
    stream.cancel()
    again.cancel()


async def test_readers_see_a_validation_that_the_next_attempt_completed(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1))
    save(attempts, token, 2)  # in the middle of its validation: no point yet
    stream = stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
    assert (await stream.read()).point.step == 1
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    claimed = attempts.claim(job_id, 2, "worker-2")
    assert claimed is not None
    attempts.confirm_start(claimed.token, 2)
    attempts.publish_metrics(claimed.token, points(2), of_attempt=1)
    attempts.publish_metrics(claimed.token, points(3))
    read = [(await asyncio.wait_for(stream.read(), 30)).point for _ in range(2)]
    assert [(point.step, point.attempt) for point in read] == [(2, 1), (3, 2)]
    attempts.finish(claimed.token, Outcome(OutcomeKind.SUCCEEDED))
    assert await rest_of(stream) == []


async def test_a_lost_attempt_rewinds_its_readers(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1, 2))
    save(attempts, token, 2)
    attempts.publish_metrics(token, points(3, 4))
    stream = stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
    assert [(await stream.read()).point.step for _ in range(4)] == [1, 2, 3, 4]
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    claimed = attempts.claim(job_id, 2, "worker-2")
    assert claimed is not None
    attempts.confirm_start(claimed.token, 2)
    rewound = await asyncio.wait_for(stream.read(), 30)
    assert rewound.HasField("rewound_to_step")
    assert rewound.rewound_to_step == 2
    attempts.publish_metrics(claimed.token, points(3))
    assert (await stream.read()).point.attempt == 2
    stream.cancel()


def kind_and_number(event: job_pb2.WatchJobResponse) -> tuple[str, int]:
    """Return the kind of an event, with the point's step or the attempt."""
    kind = event.WhichOneof("event") or ""
    return kind, event.metrics.step if kind == "metrics" else getattr(event, kind).attempt


async def test_a_watcher_is_spared_the_points_it_has_until_a_rewind_brings_them_again(
    stubs: Any, attempts: AttemptStore
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1, 2, 3))
    save(attempts, token, 2)
    request = job_pb2.WatchJobRequest(job_id=job_id, after_step=3)
    watch = stubs.jobs.WatchJob(request)
    events = [await watch.read() for _ in range(3)]
    assert [kind_and_number(event) for event in events] == [
        ("state", 1),
        ("state", 1),
        ("checkpoint", 1),
    ]
    attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK))
    claimed = attempts.claim(job_id, 2, "worker-2")
    assert claimed is not None
    attempts.confirm_start(claimed.token, 2)
    attempts.publish_metrics(claimed.token, points(3, 4))
    while kind_and_number(events[-1]) != ("metrics", 3):
        events.append(await asyncio.wait_for(watch.read(), 30))
    (rewound,) = [event.rewound for event in events if event.HasField("rewound")]
    assert rewound.reason == (
        "attempt 1 was handed back by its worker; attempt 2 continues from step 2"
    )
    # The step in the request is older than the rewind, which the cursor remembers.
    again = job_pb2.WatchJobRequest(job_id=job_id, after_step=4, after=events[-1].cursor)
    continued = stubs.jobs.WatchJob(again)
    assert kind_and_number(await asyncio.wait_for(continued.read(), 30)) == ("metrics", 4)
    watch.cancel()
    continued.cancel()


async def test_what_streams_refuse(stubs: Any, attempts: AttemptStore) -> None:
    job_id, _ = await running_job(stubs, attempts)
    for after in ("nonsense", "x" * 10_000):
        request = metrics_pb2.StreamMetricsRequest(job_id=job_id, after=after)
        failure = await failure_of(stubs.metrics.StreamMetrics(request).read())
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_CURSOR",
        )
    failure = await failure_of(
        stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id="job_none")).read()
    )
    assert failure.reason == "JOB_NOT_FOUND"


async def test_a_shutdown_ends_streams_with_a_retryable_status(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1))
    stream = stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
    await stream.read()
    stopping = asyncio.create_task(plane.stop(60.0))
    try:
        await asyncio.wait_for(stream.read(), 30)
    except grpc.aio.AioRpcError as error:
        failure = read_failure(error)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert "continue from the last cursor" in failure.message
    await asyncio.wait_for(stopping, 30)


async def test_a_reader_that_leaves_is_forgotten(
    stubs: Any, attempts: AttemptStore, plane: ControlPlane
) -> None:
    job_id, token = await running_job(stubs, attempts)
    attempts.publish_metrics(token, points(1))
    streams = [
        stubs.metrics.StreamMetrics(metrics_pb2.StreamMetricsRequest(job_id=job_id))
        for _ in range(5)
    ]
    streams.append(stubs.jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job_id)))
    for stream in streams:
        await stream.read()
    assert len(plane.state.feeds._feeds) == 1  # one reader, however many watch
    for stream in streams:
        stream.cancel()
    async with asyncio.timeout(30):
        while plane.state.feeds._feeds:
            await asyncio.sleep(0.01)


async def test_old_points_come_from_the_artifact_folder(
    plane: ControlPlane, stubs: Any, worker_connection: Connection
) -> None:
    attempts = AttemptStore(worker_connection, max_raw_points=100)
    job_id, token = await running_job(stubs, attempts)
    archive = PointArchive(attempts, plane.state.artifacts, token)
    for first in range(1, 1000, 50):
        attempts.publish_metrics(token, points(*range(first, first + 50)))
        archive.published(50)
    attempts.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert attempts.attempts(job_id)[0].points <= 125

    request = metrics_pb2.ListMetricsRequest(job_id=job_id, page_size=64)
    listed: list[Any] = []
    while not listed or request.page_token:
        page = await stubs.metrics.ListMetrics(request)
        listed += page.points
        request.page_token = page.next_page_token
    assert [(p.step, p.loss) for p in listed] == [(s, 10.0 / s) for s in range(1, 1001)]
    stream = stubs.metrics.StreamMetrics(
        metrics_pb2.StreamMetricsRequest(job_id=job_id, after_step=40)
    )
    assert [item.point.step for item in await rest_of(stream)] == list(range(41, 1001))
    (lost,) = plane.state.settings.artifact_root.rglob("points-1-1-25.bin")
    lost.unlink()
    failure = await failure_of(
        stubs.metrics.ListMetrics(metrics_pb2.ListMetricsRequest(job_id=job_id, to_step=3))
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED")
    assert "steps 1 to 25 cannot be read" in failure.message
    assert "read on with after_step=25" in failure.message
