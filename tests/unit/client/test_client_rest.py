"""The same SDK over REST."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from scripted_gateway import Exchange, ScriptedGateway
from scripted_service import CheckpointFile

from training_engine import (
    AsyncTrainingEngine,
    EventKind,
    InternalError,
    InvalidArgumentError,
    InvalidConfigError,
    JobRecord,
    JobStatus,
    LogLine,
    NotFoundError,
    PayloadTooLargeError,
    TrainingEngine,
    UnavailableError,
)

ROOT = "/api/training"
JOB = f"{ROOT}/jobs/j1"


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    scripted.on[f"GET {JOB}"] = lambda exchange: exchange.json(200, record())
    yield scripted
    scripted.stop()


@pytest.fixture
def rest(gateway: ScriptedGateway) -> Iterator[TrainingEngine]:
    with TrainingEngine.over_rest(gateway.url, retry_for=5, reconnect_for=10) as made:
        yield made


def record(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    common = {"job_id": "j1", "name": "mine", "max_steps": 5, "worker_id": None, "attempt": 1}
    created = {"created_at": "2030-01-01T12:00:00Z", "config": {"eval_steps": 2}}
    return {**common, **created, "status": status, **fields}


def test_starting_a_job(gateway: ScriptedGateway, rest: TrainingEngine, tmp_path: Path) -> None:
    short = {"job_id": "j1", "status": "queued", "warnings": []}
    gateway.on[f"POST {ROOT}/jobs/start"] = lambda exchange: exchange.json(201, short)
    file = tmp_path / "config.yaml"
    file.write_text("max_steps: 5\nmodel_config: {num_layers: 2}\n")
    made = rest.jobs.start(file, dataset_path="/data", execution={"priority": "low"})
    # The answer holds a few fields; the rest is fetched.
    assert (made.name, made.status) == ("mine", JobStatus.SUCCEEDED)
    (sent,) = gateway.asked(f"POST {ROOT}/jobs/start")
    assert json.loads(sent.body) == {
        "config": {"max_steps": 5, "model_config": {"num_layers": 2}},
        "dataset_path": "/data",
        "execution": {"priority": "low"},
    }
    assert len(sent.headers["idempotency-key"]) == 32


def test_stop_resume_and_delete(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    answer = {"job_id": "j1", "status": "stopping"}
    gateway.on[f"POST {JOB}/stop"] = lambda exchange: exchange.json(202, answer)
    gateway.on[f"POST {JOB}/resume"] = lambda exchange: exchange.json(
        202, {**answer, "attempt": 2, "resumed_from_step": 4}
    )
    gateway.on[f"DELETE {JOB}"] = lambda exchange: exchange.json(204)
    assert rest.jobs.stop("j1").job_id == "j1"
    rest.jobs.resume("j1", max_steps=9)
    rest.jobs.delete("j1")
    assert json.loads(gateway.asked(f"POST {JOB}/resume")[0].body) == {"max_steps": 9}
    rest.jobs.resume("j1", from_start=True)
    assert json.loads(gateway.asked(f"POST {JOB}/resume")[1].body) == {"from_start": True}
    assert len(gateway.asked(f"DELETE {JOB}")[0].headers["idempotency-key"]) == 32


def test_lists_go_through_every_page(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    def jobs(exchange: Exchange) -> None:
        more = "page_token" not in exchange.query
        ids = ["a", "b"] if more else ["c"]
        rows = [record(job_id=job_id) for job_id in ids]
        exchange.json(200, {"jobs": rows, "next_page_token": "t/2" if more else None})

    gateway.on[f"GET {ROOT}/jobs"] = jobs
    assert [job.job_id for job in rest.jobs.list(status="failed")] == ["a", "b", "c"]
    queries = [exchange.query for exchange in gateway.asked(f"GET {ROOT}/jobs")]
    assert queries == ["status=failed", "page_token=t%2F2&status=failed"]


def test_errors_are_the_same_as_over_grpc(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    problem = {
        "status": 400,
        "reason": "invalid_config",
        "detail": "1 problem",
        "errors": [{"field": "batch_size", "message": "it is 0"}],
    }
    gateway.on[f"POST {ROOT}/jobs/start"] = lambda exchange: exchange.json(400, problem)
    with pytest.raises(InvalidConfigError) as caught:
        rest.jobs.start({"batch_size": 0})
    assert [str(problem) for problem in caught.value.problems] == ["batch_size: it is 0"]
    missing = {"status": 404, "reason": "job_not_found", "detail": "there is no job 'x y/z'"}
    gateway.on[f"GET {ROOT}/jobs/x%20y%2Fz"] = lambda exchange: exchange.json(404, missing)
    with pytest.raises(NotFoundError, match="there is no job 'x y/z'") as not_found:
        rest.jobs.get("x y/z")
    assert not_found.value.code == "job_not_found"
    with pytest.raises(InvalidArgumentError, match="a number that JSON cannot say"):
        rest.jobs.start({"learning_rate": float("nan")})


def test_a_call_is_repeated_while_the_service_is_away(
    gateway: ScriptedGateway, rest: TrainingEngine
) -> None:
    away = {"status": 503, "reason": "store_unavailable", "detail": "Redis is away"}
    answers = iter([(503, away), (503, away), (200, record())])
    gateway.on[f"GET {JOB}"] = lambda exchange: exchange.json(*next(answers))
    assert rest.jobs.get("j1").status is JobStatus.SUCCEEDED
    assert len(gateway.asked(f"GET {JOB}")) == 3


def metrics(step: int, **values: float) -> tuple[str, str, Any]:
    return (f"c{step}", "metrics", {"step": step, **values})


ALL_EVENTS = [
    ("s1", "state", record("running")),
    metrics(1, loss=3.0),
    metrics(2, loss=2.0, val_loss=2.5),
    ("k2", "checkpoint", {"checkpoint_id": "c1", "step": 2}),
    metrics(3, loss=1.5),
    ("r1", "rewound", {"to_step": 2, "attempt": 2, "reason": "worker lost"}),
    metrics(3, loss=1.5),
    metrics(4, loss=1.0),
    ("l1", "log", {"text": "almost"}),
    metrics(5, loss=0.5, val_loss=0.75),
    ("s2", "state", record("succeeded")),
]


def stream(*breaks: int) -> Any:
    """Serve the events behind Last-Event-ID; break each connection after so many."""
    left = list(breaks)

    def answer(exchange: Exchange) -> None:
        after = exchange.headers.get("last-event-id")
        begin = [cursor for cursor, _, _ in ALL_EVENTS].index(after) + 1 if after else 0
        count = left.pop(0) if left else None
        end = len(ALL_EVENTS) if count is None else begin + count
        exchange.events(*ALL_EVENTS[begin:end], whole=count is None)

    return answer


POINTS = [(1, 3.0, None), (2, 2.0, 2.5), (3, 1.5, None), (4, 1.0, None), (5, 0.5, 0.75)]


def test_a_stream_continues_behind_its_last_event(
    gateway: ScriptedGateway, rest: TrainingEngine
) -> None:
    gateway.on[f"GET {JOB}/stream"] = stream(2, 3)
    points = rest.metrics.stream("j1")
    assert [(p.step, p.loss, p.val_loss) for p in points] == POINTS
    sent = [e.headers.get("last-event-id") for e in gateway.asked(f"GET {JOB}/stream")]
    assert sent == [None, "c1", "c3"]


async def test_an_asyncio_stream_does_the_same(gateway: ScriptedGateway) -> None:
    gateway.on[f"GET {JOB}/stream"] = stream(3, 3)
    async with AsyncTrainingEngine.over_rest(gateway.url) as engine:
        job = await engine.jobs.get("j1")
        assert [(p.step, p.loss, p.val_loss) async for p in job.stream_metrics()] == POINTS


def test_watch_tells_every_event(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    gateway.on[f"GET {JOB}/stream"] = stream(6)
    events = list(rest.jobs.watch("j1"))
    assert [event.cursor for event in events] == [cursor for cursor, _, _ in ALL_EVENTS]
    assert events[5].kind is EventKind.REWOUND


def test_a_stream_past_its_end_is_empty(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    gateway.on[f"GET {JOB}/stream"] = lambda exchange: exchange.json(204)
    assert list(rest.jobs.watch("j1", after="s2")) == []


def test_an_error_inside_a_stream_is_typed(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    problem = {"status": 404, "reason": "job_not_found", "detail": "deleted"}
    gateway.on[f"GET {JOB}/stream"] = lambda exchange: exchange.events(("", "error", problem))
    with pytest.raises(NotFoundError, match="deleted"):
        list(rest.jobs.watch("j1"))


def test_generated_text(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    tokens = [
        ("", "token", {"token_id": 5, "text": "To ", "finish_reason": None}),
        ("", "token", {"token_id": 0, "text": "be", "finish_reason": "length"}),
    ]
    path = f"POST {ROOT}/checkpoints/c1/generate"
    gateway.on[path] = lambda exchange: exchange.events(*tokens)
    pieces = list(rest.checkpoints.generate("c1", "x", max_tokens=2))
    assert pieces == ["To ", "be"]
    assert [(piece.token_ids, piece.finish_reason) for piece in pieces] == [
        ((5,), None),
        ((0,), "length"),
    ]
    assert json.loads(gateway.asked(path)[0].body) == {"prompt": "x", "max_tokens": 2}
    gateway.on[path] = lambda exchange: exchange.events(tokens[0])
    with pytest.raises(UnavailableError, match="broke off"):
        list(rest.checkpoints.generate("c1"))


def test_a_broken_download_continues_by_range(
    gateway: ScriptedGateway, rest: TrainingEngine, tmp_path: Path
) -> None:
    file = CheckpointFile()
    sha256 = hashlib.sha256(file.data).hexdigest()
    checkpoint = {"checkpoint_id": "c1", "step": 7, "size_bytes": 1000, "sha256": sha256}
    gateway.on[f"GET {ROOT}/checkpoints/c1"] = lambda exchange: exchange.json(200, checkpoint)

    def download(exchange: Exchange) -> None:
        asked = exchange.headers.get("range")
        if asked is None:
            exchange.send(200, file.data[:400], length=1000)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {begin}-999/1000"
        exchange.send(206, file.data[begin:], content_range=place)

    gateway.on[f"GET {ROOT}/checkpoints/c1/download"] = download
    path = rest.checkpoints.download("c1", tmp_path)
    assert path.read_bytes() == file.data
    ranges = [e.headers.get("range") for e in gateway.asked(f"GET {ROOT}/checkpoints/c1/download")]
    assert ranges == [None, "bytes=400-"]


def test_a_gateway_that_ignores_ranges_is_followed(
    gateway: ScriptedGateway, rest: TrainingEngine, tmp_path: Path
) -> None:
    file = CheckpointFile()
    sha256 = hashlib.sha256(file.data).hexdigest()
    checkpoint = {"checkpoint_id": "c1", "step": 7, "size_bytes": 1000, "sha256": sha256}
    gateway.on[f"GET {ROOT}/checkpoints/c1"] = lambda exchange: exchange.json(200, checkpoint)
    gateway.on[f"GET {ROOT}/checkpoints/c1/download"] = lambda exchange: exchange.send(
        200, file.data
    )
    (tmp_path / f"m.pt.{sha256[:12]}.part").write_bytes(file.data[:100])
    assert rest.checkpoints.download("c1", tmp_path / "m.pt").read_bytes() == file.data


def test_uploading_a_dataset(
    gateway: ScriptedGateway, rest: TrainingEngine, tmp_path: Path
) -> None:
    stored = {"dataset_id": "d1", "name": "a b.txt", "size_bytes": 11}
    gateway.on[f"POST {ROOT}/datasets"] = lambda exchange: exchange.json(201, stored)
    file = tmp_path / "a b.txt"
    file.write_text("hello world")
    assert rest.datasets.upload(file).path == "dataset://d1"
    (sent,) = gateway.asked(f"POST {ROOT}/datasets")
    assert sent.body == b"hello world"
    assert sent.query == f"name=a+b.txt&sha256={hashlib.sha256(b'hello world').hexdigest()}"
    assert sent.headers["content-type"] == "application/octet-stream"


def test_the_token_goes_with_every_call(gateway: ScriptedGateway) -> None:
    with TrainingEngine.over_rest(gateway.url, token="secret") as engine:
        engine.jobs.get("j1")
    assert gateway.requests[0].headers["authorization"] == "Bearer secret"


def test_odd_characters_in_an_event_are_no_line_ends(
    gateway: ScriptedGateway, rest: TrainingEngine
) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"

    def events(exchange: Exchange) -> None:
        line = json.dumps({"text": text}, ensure_ascii=False)
        done = json.dumps({"job_id": "j1", "status": "succeeded"})
        body = f"id: 1\nevent: log\ndata: {line}\n\nid: 2\nevent: state\ndata: {done}\n\n".encode()
        exchange.send(200, body, **{"content-type": "text/event-stream"})

    gateway.on[f"GET {JOB}/stream"] = events
    log, state = [event.data for event in rest.jobs.watch("j1")]
    assert isinstance(log, LogLine)
    assert log.text == text
    assert isinstance(state, JobRecord)


def test_an_event_that_is_no_json_is_named(gateway: ScriptedGateway, rest: TrainingEngine) -> None:
    gateway.on[f"GET {JOB}/stream"] = lambda exchange: exchange.send(
        200, b"event: log\ndata: {oops\n\n", **{"content-type": "text/event-stream"}
    )
    with pytest.raises(InternalError, match="the stream holds an event that is not JSON"):
        list(rest.jobs.watch("j1"))


def test_a_stream_after_a_step_asks_for_no_more(
    gateway: ScriptedGateway, rest: TrainingEngine
) -> None:
    done = {"job_id": "j1", "status": "succeeded"}
    gateway.on[f"GET {JOB}/stream"] = lambda exchange: exchange.events(
        ("8", "metrics", {"step": 8}), ("9", "state", done)
    )
    assert [point.step for point in rest.metrics.stream("j1", after_step=7)] == [8]
    assert [asked.query for asked in gateway.asked(f"GET {JOB}/stream")] == ["after_step=7"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_upload_that_is_refused_early_says_why(
    gateway: ScriptedGateway, tmp_path: Path, is_async: bool
) -> None:
    """The gateway answers and leaves while the file is still being sent."""

    class Refusal(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.dumps({"detail": "larger than 5 bytes", "reason": "payload_too_large"})
            self.send_response(413)
            self.send_header("content-type", "application/problem+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())
            self.close_connection = True

    gateway.RequestHandlerClass = Refusal
    file = tmp_path / "large.txt"
    with open(file, "wb") as large:
        large.truncate(50 << 20)

    async def by_asyncio() -> None:
        async with AsyncTrainingEngine.over_rest(gateway.url, retry_for=0.5) as engine:
            await engine.datasets.upload(file)

    def upload() -> None:
        if is_async:
            asyncio.run(by_asyncio())
        with TrainingEngine.over_rest(gateway.url, retry_for=0.5) as engine:
            engine.datasets.upload(file)

    with pytest.raises(PayloadTooLargeError, match="larger than 5 bytes"):
        upload()
