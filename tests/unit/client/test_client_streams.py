"""Streams that survive broken connections, and tell each step once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from scripted_service import ScriptedService, code_pb2, job, job_pb2, metrics_pb2, point, refuse

from training_engine import (
    AsyncTrainingEngine,
    EventKind,
    InvalidArgumentError,
    JobEvent,
    JobStatus,
    MetricPoint,
    NotFoundError,
    TrainingEngine,
    UnavailableError,
)


class History:
    """A job's logged steps and rewinds, replayed behind a cursor; breaks off where told."""

    def __init__(self, *entries: Any, breaks: tuple[int, ...] = ()) -> None:
        self.entries = entries
        self.breaks = list(breaks)
        self.over = True

    def stream(self, request: Any, context: Any) -> Iterator[Any]:
        begin = int(request.after or 0)
        for index, entry in enumerate(self.entries[begin:], begin + 1):
            if self.breaks and index > self.breaks[0]:
                self.breaks.pop(0)
                refuse(context, code_pb2.UNAVAILABLE, "SHUTTING_DOWN", "restarting")
            if isinstance(entry, int):
                if request.HasField("after_step") and entry <= request.after_step:
                    continue
                yield metrics_pb2.StreamMetricsResponse(cursor=str(index), point=point(entry))
            else:
                yield metrics_pb2.StreamMetricsResponse(
                    cursor=str(index), rewound_to_step=entry["rewound"]
                )

    def get_job(self, request: Any, context: Any) -> Any:
        return job_pb2.GetJobResponse(job=job(status="SUCCEEDED" if self.over else "RUNNING"))

    def install(self, service: ScriptedService) -> None:
        service.on["StreamMetrics"] = self.stream
        service.on["GetJob"] = self.get_job


def steps_of(points: Iterator[MetricPoint]) -> list[int]:
    return [point.step for point in points]


def test_a_stream_continues_where_each_connection_broke(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    History(*range(1, 11), breaks=(3, 3, 7)).install(service)
    assert steps_of(engine.metrics.stream("j1")) == list(range(1, 11))
    assert [request.after for request in service.asked("StreamMetrics")] == ["", "3", "3", "7"]


async def test_an_asyncio_stream_does_the_same(service: ScriptedService) -> None:
    History(*range(1, 11), breaks=(3, 7)).install(service)
    async with AsyncTrainingEngine(service.address) as engine:
        steps = [point.step async for point in engine.metrics.stream("j1")]
    assert steps == list(range(1, 11))


def test_a_stream_survives_a_restarted_service(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    History(*range(1, 6)).install(service)
    stream = engine.metrics.stream("j1")
    seen = [next(stream).step, next(stream).step]
    service.stop()
    service.start()
    assert seen + steps_of(stream) == [1, 2, 3, 4, 5]


def test_a_stream_that_ends_before_its_job_is_taken_up_again(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    history = History(1, 2, 3)
    history.install(service)
    history.over = False
    asked = itertools.count(1)

    def get_job(request: Any, context: Any) -> Any:
        # The first question opens the stream, the second comes at its first end.
        history.over = next(asked) > 2
        return History.get_job(history, request, context)

    service.on["GetJob"] = get_job
    assert steps_of(engine.metrics.stream("j1")) == [1, 2, 3]
    # The job had ended only after the second stream began: the third is sure to have seen its end.
    assert [request.after for request in service.asked("StreamMetrics")] == ["", "3", "3"]


def test_steps_measured_again_after_a_rewind_are_skipped(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    History(1, 2, 3, 4, {"rewound": 2}, 3, 4, 5).install(service)
    assert steps_of(engine.metrics.stream("j1")) == [1, 2, 3, 4, 5]


def test_who_asks_for_rewinds_is_told_and_gets_the_steps_anew(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    History(1, 2, 3, 4, {"rewound": 2}, 3, 4, 5, breaks=(6,)).install(service)
    told: list[int | str] = []
    points = engine.metrics.stream("j1", on_rewind=lambda step: told.append(f"to {step}"))
    while (measured := next(points, None)) is not None:
        told.append(measured.step)
    assert told == [1, 2, 3, 4, "to 2", 3, 4, 5]


def test_a_stream_can_begin_after_a_step(service: ScriptedService, engine: TrainingEngine) -> None:
    History(1, 2, 3, 4).install(service)
    assert steps_of(engine.metrics.stream("j1", after_step=2)) == [3, 4]
    assert service.asked("StreamMetrics")[0].after_step == 2


def test_a_forgotten_cursor_is_replaced_by_the_step(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    history = History(1, 2, 3, 4, breaks=(2,))
    history.install(service)

    def stream(request: Any, context: Any) -> Iterator[Any]:
        if request.after:
            refuse(context, code_pb2.INVALID_ARGUMENT, "INVALID_CURSOR", "not one of ours")
        yield from history.stream(request, context)

    service.on["StreamMetrics"] = stream
    assert steps_of(engine.metrics.stream("j1")) == [1, 2, 3, 4]
    last = service.asked("StreamMetrics")[-1]
    assert (last.after, last.after_step) == ("", 2)


def test_an_unknown_job_is_told_at_once(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["GetJob"] = lambda request, context: refuse(
        context, code_pb2.NOT_FOUND, "JOB_NOT_FOUND", "no job has the id j1"
    )
    with pytest.raises(NotFoundError, match="no job has the id j1"):
        next(engine.metrics.stream("j1"))


def test_a_stream_gives_up_after_its_patience(service: ScriptedService) -> None:
    history = History(1, 2)
    history.install(service)
    history.over = False
    with TrainingEngine(service.address, retry_for=0.1, reconnect_for=0.5) as engine:
        stream = engine.metrics.stream("j1")
        assert next(stream).step == 1
        service.on["StreamMetrics"] = lambda request, context: context.abort(
            grpc.StatusCode.UNAVAILABLE, "gone"
        )
        service.stop()
        with pytest.raises(UnavailableError, match="no control plane at"):
            steps_of(stream)


def _watch(request: Any, context: Any) -> Iterator[Any]:
    answer = job_pb2.WatchJobResponse
    events = [
        answer(cursor="1", state=job(status="RUNNING")),
        answer(cursor="2", metrics=point(1, loss=2.5, mine=7.0, wild=math.nan)),
        answer(cursor="3", checkpoint={"checkpoint_id": "c1", "step": 1, "is_best": True}),
        answer(cursor="4", log={"text": "hello", "stream": "stdout", "sequence": 3}),
        answer(cursor="5", rewound={"to_step": 1, "attempt": 2, "reason": "worker lost"}),
        answer(cursor="6", state=job(status="SUCCEEDED")),
    ]
    for event in events[int(request.after or 0) :]:
        if event.cursor == "4" and not request.after:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        yield event


def test_watch_tells_every_kind_of_event_once(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["WatchJob"] = _watch
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    events = list(engine.jobs.watch("j1"))
    assert [event.kind for event in events] == ["state", "metrics", "checkpoint", "log",
                                                "rewound", "state"]  # fmt: skip
    assert [event.cursor for event in events] == ["1", "2", "3", "4", "5", "6"]
    state, metrics, checkpoint, log, rewound, end = (event.data for event in events)
    assert state.status is JobStatus.RUNNING
    assert metrics == MetricPoint(step=1, loss=2.5, attempt=1, custom={"mine": 7.0, "wild": None})
    assert checkpoint.is_best
    assert (log.text, log.sequence) == ("hello", 3)
    assert (rewound.to_step, rewound.attempt, rewound.reason) == (1, 2, "worker lost")
    assert end.status is JobStatus.SUCCEEDED
    # The last state says that it is over; nobody has to ask again.
    assert len(service.asked("GetJob")) == 1


def _resumed(service: ScriptedService) -> None:
    """A job in its second attempt, whose server stops right behind the end of the first."""

    def attempt(number: int, status: str) -> Any:
        record = job(status=status)
        record.attempt = number
        return record

    answer = job_pb2.WatchJobResponse
    events = [
        answer(cursor="1", metrics=point(1)),
        answer(cursor="2", state=attempt(1, "STOPPED")),
        answer(cursor="3", state=attempt(2, "RUNNING")),
        answer(cursor="4", metrics=point(2, attempt=2)),
        answer(cursor="5", state=attempt(2, "SUCCEEDED")),
    ]

    def watch(request: Any, context: Any) -> Iterator[Any]:
        begin = int(request.after or 0)
        yield from events[begin : None if begin else 2]

    service.on["WatchJob"] = watch
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(
        job=attempt(2, "RUNNING")
    )


def test_the_end_of_an_earlier_attempt_is_not_the_end(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    _resumed(service)
    assert [event.cursor for event in engine.jobs.watch("j1")] == ["1", "2", "3", "4", "5"]


async def test_nor_is_it_under_asyncio(service: ScriptedService) -> None:
    _resumed(service)
    async with AsyncTrainingEngine(service.address) as engine:
        cursors = [event.cursor async for event in engine.jobs.watch("j1")]
    assert cursors == ["1", "2", "3", "4", "5"]


def _upgraded(service: ScriptedService) -> None:
    """A service that breaks off, is upgraded, and knows no cursor of the release before."""
    answer = job_pb2.WatchJobResponse
    first = [
        answer(cursor="old-1", state=job(status="RUNNING")),
        answer(cursor="old-2", metrics=point(1)),
        answer(cursor="old-3", log={"text": "one", "attempt": 1, "sequence": 0}),
        answer(cursor="old-4", checkpoint={"checkpoint_id": "c1", "step": 1}),
        answer(cursor="old-5", metrics=point(2)),
        answer(cursor="old-6", rewound={"to_step": 1, "attempt": 2}),
        answer(cursor="old-7", metrics=point(2, attempt=2)),
    ]
    replayed = [
        *first[:4], *first[5:],
        answer(log={"text": "two", "attempt": 2, "sequence": 0}),
        answer(rewound={"to_step": 1, "attempt": 3}),
        answer(metrics=point(2, attempt=3)),
        answer(metrics=point(3, attempt=3)),
        answer(checkpoint={"checkpoint_id": "c3", "step": 3}),
        answer(state=job(status="SUCCEEDED")),
    ]  # fmt: skip
    asked = itertools.count()

    def watch(request: Any, context: Any) -> Iterator[Any]:
        if request.after:
            refuse(context, code_pb2.INVALID_ARGUMENT, "INVALID_CURSOR", "not one of ours")
        if next(asked):
            yield from replayed
        else:
            yield from first
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    service.on["WatchJob"] = watch
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())


def _told(events: list[JobEvent]) -> list[object]:
    return [
        getattr(event.data, name)
        for event in events
        for name in ("status", "text", "checkpoint_id", "to_step", "step")
        if hasattr(event.data, name)
    ]


WATCHED = [
    *("running", 1, "one", "c1", 1, 2, 1, 2),
    *("two", 1, 2, 3, "c3", 3, "succeeded"),
]


def test_watch_starts_over_where_the_service_knows_its_cursor_no_more(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    _upgraded(service)
    assert _told(list(engine.jobs.watch("j1"))) == WATCHED
    assert [request.after for request in service.asked("WatchJob")] == ["", "old-7", ""]


async def test_so_it_does_under_asyncio(service: ScriptedService) -> None:
    _upgraded(service)
    async with AsyncTrainingEngine(service.address) as engine:
        assert _told([event async for event in engine.jobs.watch("j1")]) == WATCHED


def test_a_cursor_that_its_caller_gave_is_refused(
    service: ScriptedService, engine: TrainingEngine
) -> None:
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    service.on["WatchJob"] = lambda request, context: refuse(
        context, code_pb2.INVALID_ARGUMENT, "INVALID_CURSOR", "not one of ours"
    )
    with pytest.raises(InvalidArgumentError, match="not one of ours") as caught:
        list(engine.jobs.watch("j1", after="old-7"))
    assert caught.value.code == "invalid_cursor"


def test_watch_continues_behind_a_cursor(service: ScriptedService, engine: TrainingEngine) -> None:
    service.on["WatchJob"] = _watch
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job())
    kinds = [event.kind for event in engine.jobs.watch("j1", after="4")]
    assert kinds == [EventKind.REWOUND, EventKind.STATE]


def test_leaving_a_stream_cancels_it(service: ScriptedService, engine: TrainingEngine) -> None:
    import threading

    left = threading.Event()

    def stream(request: Any, context: Any) -> Iterator[Any]:
        context.add_callback(left.set)
        for step in itertools.count(1):
            yield metrics_pb2.StreamMetricsResponse(cursor=str(step), point=point(step))

    History().install(service)
    service.on["StreamMetrics"] = stream
    points = engine.metrics.stream("j1")
    assert next(points).step == 1
    points.close()  # type: ignore[attr-defined]
    assert left.wait(10)
