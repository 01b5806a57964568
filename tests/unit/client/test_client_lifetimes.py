"""Engines that are closed, forked, copied or cancelled while they are in use, by both doors."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import pickle
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from scripted_gateway import Exchange, ScriptedGateway
from scripted_service import CheckpointFile, ScriptedService, job, job_pb2, metrics_pb2, point

from training_engine import (
    AsyncTrainingEngine,
    FieldProblem,
    NotFoundError,
    TrainingEngine,
    TrainingEngineError,
)

ENGINES = ["grpc", "rest"]


class Doors:
    """A job that trains for as long as somebody watches, behind both transports."""

    def __init__(self, service: ScriptedService, gateway: ScriptedGateway) -> None:
        self.service, self.gateway = service, gateway
        self.left = threading.Event()
        service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(
            job=job(request.job_id)
        )
        service.on["StreamMetrics"] = self._metrics
        gateway.on["GET /api/training/jobs/j1"] = self._job
        gateway.on["GET /api/training/jobs/j1/stream"] = self._events
        self.connections: set[int] = set()

    def engine(self, kind: str) -> TrainingEngine:
        if kind == "grpc":
            return TrainingEngine(self.service.address, retry_for=1, reconnect_for=5)
        return TrainingEngine.over_rest(self.gateway.url, retry_for=1, reconnect_for=5)

    def async_engine(self, kind: str) -> AsyncTrainingEngine:
        if kind == "grpc":
            return AsyncTrainingEngine(self.service.address, retry_for=1, reconnect_for=5)
        return AsyncTrainingEngine.over_rest(self.gateway.url, retry_for=1, reconnect_for=5)

    def _metrics(self, request: Any, context: Any) -> Iterator[Any]:
        context.add_callback(self.left.set)
        for step in (1, 2):
            yield metrics_pb2.StreamMetricsResponse(cursor=str(step), point=point(step))
        self.left.wait(30)

    def _job(self, exchange: Exchange) -> None:
        self.connections.add(exchange.client_address[1])
        exchange.json(200, {"job_id": "j1", "status": "running"})

    def _events(self, exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("content-type", "text/event-stream")
        exchange.end_headers()
        exchange.close_connection = True
        for step in (1, 2):
            data = json.dumps({"step": step})
            exchange.wfile.write(f"id: {step}\nevent: metrics\ndata: {data}\n\n".encode())
        exchange.wfile.flush()
        exchange.connection.recv(1)  # ends when the client has gone
        self.left.set()


@pytest.fixture
def doors(service: ScriptedService) -> Iterator[Doors]:
    gateway = ScriptedGateway()
    yield Doors(service, gateway)
    gateway.stop()


def closed(action: Callable[[], object]) -> None:
    with pytest.raises(TrainingEngineError, match="this engine was closed; make a new one") as got:
        action()
    assert (got.value.code, got.value.retryable) == ("engine_closed", False)


@pytest.mark.parametrize("kind", ENGINES)
def test_closing_an_engine_ends_its_streams_with_a_reason(doors: Doors, kind: str) -> None:
    engine = doors.engine(kind)
    seen: list[int] = []
    came = threading.Event()
    ended: list[BaseException] = []

    def follow() -> None:
        try:
            for measured in engine.metrics.stream("j1"):
                seen.append(measured.step)
                if measured.step == 2:
                    came.set()
        except TrainingEngineError as error:
            ended.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    assert came.wait(20)
    engine.close()
    thread.join(20)
    assert seen == [1, 2]
    assert [str(error) for error in ended] == ["this engine was closed; make a new one"]
    closed(lambda: engine.jobs.get("j1"))
    closed(lambda: next(iter(engine.metrics.stream("j1"))))
    engine.close()  # a second time does no harm


@pytest.mark.parametrize("kind", ENGINES)
async def test_closing_an_asyncio_engine_cancels_nobody(doors: Doors, kind: str) -> None:
    engine = doors.async_engine(kind)
    came = asyncio.Event()

    async def follow() -> None:
        async for measured in engine.metrics.stream("j1"):
            if measured.step == 2:
                came.set()

    task = asyncio.create_task(follow())
    await asyncio.wait_for(came.wait(), 20)
    await engine.close()
    with pytest.raises(TrainingEngineError, match="this engine was closed; make a new one"):
        await asyncio.wait_for(task, 20)
    with pytest.raises(TrainingEngineError, match="this engine was closed; make a new one"):
        await engine.jobs.get("j1")


@pytest.mark.parametrize("kind", ENGINES)
async def test_a_cancelled_reader_leaves_the_stream_and_the_engine_lives(
    doors: Doors, kind: str
) -> None:
    async with doors.async_engine(kind) as engine:
        came = asyncio.Event()

        async def follow() -> None:
            async for _ in engine.metrics.stream("j1"):
                came.set()

        task = asyncio.create_task(follow())
        await asyncio.wait_for(came.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(doors.left.wait, 20), "the server still serves the stream"
        assert (await engine.jobs.get("j1")).job_id == "j1"
        doors.left.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await follow()
        assert await asyncio.to_thread(doors.left.wait, 20)


@pytest.mark.parametrize("kind", ENGINES)
async def test_leaving_a_loop_leaves_the_stream(doors: Doors, kind: str) -> None:
    async with doors.async_engine(kind) as engine:
        async for measured in engine.metrics.stream("j1"):
            assert measured.step == 1
            break
        assert await asyncio.to_thread(doors.left.wait, 20)


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_is_freed_and_streams_that_nobody_reads_cost_nothing(
    doors: Doors, kind: str
) -> None:
    engine = doors.engine(kind)
    engine.metrics.stream("j1")
    list_of_all = engine.jobs.list()
    assert doors.service.requests == []
    assert doors.gateway.requests == []
    del list_of_all
    stream = iter(engine.metrics.stream("j1"))
    assert next(stream).step == 1
    del stream
    assert doors.left.wait(20), "the server still serves a stream that nobody holds"
    engine.close()
    freed = weakref.ref(engine)
    del engine
    gc.collect()
    assert freed() is None


@pytest.mark.parametrize("kind", ENGINES)
async def test_an_engine_belongs_to_one_event_loop(doors: Doors, kind: str) -> None:
    async with doors.async_engine(kind) as engine:
        await engine.jobs.get("j1")

        def elsewhere() -> None:
            asyncio.run(engine.jobs.get("j1"))  # type: ignore[arg-type]

        with pytest.raises(TrainingEngineError, match="belongs to another event loop") as caught:
            await asyncio.to_thread(elsewhere)
        assert caught.value.code == "wrong_event_loop"


@pytest.mark.parametrize("kind", ENGINES)
def test_pickling_and_copying_name_the_remedy(doors: Doors, kind: str) -> None:
    with doors.engine(kind) as engine:
        found = engine.jobs.get("j1")
        for thing in (engine, found, doors.async_engine(kind)):
            for act in (pickle.dumps, copy.deepcopy):
                with pytest.raises(TypeError, match=r"pass job\.job_id or job\.to_dict\(\)"):
                    act(thing)
        assert copy.deepcopy(found.to_dict())["job_id"] == "j1"


def test_errors_may_travel_between_processes() -> None:
    error = NotFoundError(
        "no", code="job_not_found", errors=[FieldProblem("a", "b")], retry_after=2.0
    )
    again = copy.deepcopy(error)  # by the same protocol as pickle
    assert (type(again), str(again), vars(again)) == (NotFoundError, str(error), vars(error))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_connection(doors: Doors) -> None:
    with doors.engine("rest") as engine:
        engine.jobs.get("j1")
        assert len(doors.connections) == 1
        child = os.fork()
        if child == 0:  # pragma: no cover - measured in the parent
            try:
                engine.jobs.get("j1")
                engine.close()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(doors.connections) == 2
        engine.jobs.get("j1")
        assert len(doors.connections) == 2


def test_streams_do_not_use_up_the_connections_of_calls(doors: Doors) -> None:
    with doors.engine("rest") as engine:
        streams = [iter(engine.metrics.stream("j1")) for _ in range(120)]
        assert [next(stream).step for stream in streams] == [1] * 120
        assert engine.jobs.get("j1").job_id == "j1"


def test_an_engine_is_shared_by_threads(doors: Doors) -> None:
    for kind in ENGINES:
        with doors.engine(kind) as engine:
            answers: list[str] = []

            def ask(engine: TrainingEngine = engine, answers: list[str] = answers) -> None:
                answers.extend(engine.jobs.get("j1").job_id for _ in range(20))

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == ["j1"] * 160


def test_threads_that_begin_together_share_one_channel(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[grpc.Channel] = []
    make = grpc.insecure_channel

    def make_slowly(*arguments: Any) -> grpc.Channel:
        made.append(channel := make(*arguments))
        time.sleep(0.2)  # time for the other thread to make one too, if it may
        return channel

    monkeypatch.setattr(grpc, "insecure_channel", make_slowly)
    with doors.engine("grpc") as engine:
        threads = [threading.Thread(target=engine.jobs.get, args=["j1"]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1


@pytest.mark.parametrize("kind", ENGINES)
async def test_an_engine_that_was_never_used_can_be_closed(doors: Doors, kind: str) -> None:
    engine, async_engine = doors.engine(kind), doors.async_engine(kind)
    engine.close()
    await async_engine.close()
    closed(lambda: engine.jobs.get("j1"))
    with pytest.raises(TrainingEngineError, match="this engine was closed"):
        await async_engine.jobs.get("j1")


async def test_a_cancelled_download_can_be_taken_up(
    service: ScriptedService, tmp_path: Path
) -> None:
    file = CheckpointFile()
    service.on["GetCheckpoint"] = file.get
    reached = threading.Event()

    def slow(request: Any, context: Any) -> Iterator[Any]:
        for count, piece in enumerate(file.download(request, context)):
            yield piece
            if count == 4 and not request.offset:
                reached.wait(20)

    service.on["DownloadCheckpoint"] = slow
    async with AsyncTrainingEngine(service.address) as engine:
        halfway = asyncio.Event()

        def progress(done: int, total: int) -> None:
            if done == 500:
                halfway.set()

        target = tmp_path / "model.pt"
        task = asyncio.create_task(engine.checkpoints.download("c1", target, progress=progress))
        await asyncio.wait_for(halfway.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reached.set()
        await engine.checkpoints.download("c1", target)
    assert target.read_bytes() == file.data
    assert [request.offset for request in service.asked("DownloadCheckpoint")] == [0, 500]


async def drained(stream: AsyncIterator[Any]) -> list[int]:
    return [measured.step async for measured in stream]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_orderly_end_of_a_stopping_gateway_loses_nothing(doors: Doors, is_async: bool) -> None:
    """It ends its streams like finished ones, and the job may end before the next connection."""
    states = ["running", "succeeded", "succeeded", "succeeded"]
    gateway = doors.gateway
    gateway.on["GET /api/training/jobs/j1"] = lambda exchange: exchange.json(
        200, {"job_id": "j1", "status": states.pop(0)}
    )

    def events(exchange: Exchange) -> None:
        after = int(exchange.headers.get("last-event-id") or 0)
        upto = {0: 2, 2: 4}.get(after, 0)
        exchange.events(*[(str(n), "metrics", {"step": n}) for n in range(after + 1, upto + 1)])

    gateway.on["GET /api/training/jobs/j1/stream"] = events
    if is_async:

        async def run() -> list[int]:
            async with doors.async_engine("rest") as engine:
                return await drained(engine.metrics.stream("j1"))

        assert asyncio.run(run()) == [1, 2, 3, 4]
    else:
        with doors.engine("rest") as engine:
            assert [measured.step for measured in engine.metrics.stream("j1")] == [1, 2, 3, 4]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_outlives_a_restart_that_takes_longer_than_a_call_may(
    doors: Doors, is_async: bool
) -> None:
    """Between two connections a stream asks for the job, and is patient as a stream is."""
    away = iter([False, True, True, True, True, True])
    gateway = doors.gateway

    def state(exchange: Exchange) -> None:
        if next(away, False):
            problem = {"status": 503, "detail": "away", "reason": "control_plane_unavailable"}
            exchange.json(503, problem)
        else:
            exchange.json(200, {"job_id": "j1", "status": "running"})

    gateway.on["GET /api/training/jobs/j1"] = state

    def events(exchange: Exchange) -> None:
        if exchange.headers.get("last-event-id") != "1":
            exchange.events(("1", "metrics", {"step": 1}))
        else:
            done = {"job_id": "j1", "status": "succeeded"}
            exchange.events(("2", "metrics", {"step": 2}), ("3", "state", done))

    gateway.on["GET /api/training/jobs/j1/stream"] = events
    options = {"retry_for": 0.2, "reconnect_for": 20.0}
    if is_async:

        async def run() -> list[int]:
            async with AsyncTrainingEngine.over_rest(gateway.url, **options) as engine:
                return await drained(engine.metrics.stream("j1"))

        assert asyncio.run(run()) == [1, 2]
    else:
        with TrainingEngine.over_rest(gateway.url, **options) as engine:
            assert [measured.step for measured in engine.metrics.stream("j1")] == [1, 2]
