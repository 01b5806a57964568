"""A job travels the whole path, through gRPC, REST and the SDK, on a real stack."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_stack import RunningStack, wait_until

from training_engine import InvalidConfigError, NotFoundError, TrainingEngine, TrainingEngineError

Config = dict[str, Any]
GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or "grpcurl"


@pytest.fixture
def api(stack: RunningStack) -> Any:
    with httpx.Client(base_url=f"{stack.url}/api/training", timeout=30) as client:
        yield client


@pytest.mark.parametrize("door", ["grpc", "rest"])
def test_sdk_trains_watches_downloads_and_samples(
    stack: RunningStack, text_file: Path, tiny_config: Config, tmp_path: Path, door: str
) -> None:
    engine = (
        TrainingEngine(stack.address) if door == "grpc" else TrainingEngine.over_rest(stack.url)
    )
    with engine:
        config = tiny_config | {"sample_prompts": ["12 ", "b"], "sample_tokens": 9}
        job = engine.jobs.start(config=config, dataset_path=str(text_file), name="bottles")
        points = list(job.stream_metrics())
        assert [point.step for point in points] == list(range(1, 61))
        assert points[-1].loss is not None
        assert points[0].loss is not None
        assert points[-1].loss < points[0].loss - 1
        assert [point.step for point in points if point.val_loss is not None] == [20, 40, 60]

        done = job.wait(timeout=30)
        assert (done.status, done.current_step, done.attempt) == ("succeeded", 60, 1)
        assert done.error is None

        checkpoints = list(done.checkpoints())
        assert {checkpoint.step for checkpoint in checkpoints} == {40, 60}
        last = max(checkpoints, key=lambda checkpoint: checkpoint.step)
        path = engine.checkpoints.download(last.checkpoint_id, tmp_path / "last.pt")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == last.sha256
        assert load_step(path) == 60

        sampled = list(done.samples())
        assert [step.step for step in sampled] == [20, 40, 60]
        assert [sample.prompt for sample in sampled[0].samples] == ["12 ", "b"]
        drawn: dict[str, Any] = {"max_tokens": 9, "temperature": 0.8, "seed": 1337}
        text = "".join(engine.checkpoints.generate(last.checkpoint_id, "12 ", **drawn))
        assert sampled[2].samples[0].text == text
        assert f"<td>{escape(text)}</td>" in engine.jobs.report([job.job_id])

        options: dict[str, Any] = {"max_tokens": 20, "temperature": 0.8, "top_k": 20, "seed": 3}
        texts = [
            "".join(engine.checkpoints.generate(last.checkpoint_id, "12 ", **options))
            for _ in range(2)
        ]
        assert texts[0] == texts[1] != ""


def test_a_report_continues_prompts_with_each_jobs_best_checkpoint(
    stack: RunningStack, text_file: Path, short_config: Config, finished: str, tmp_path: Path
) -> None:
    output = tmp_path / "report.html"
    with TrainingEngine(stack.address) as engine:
        waits = engine.jobs.start(
            short_config, dataset_path=str(text_file), name="waits", execution={"device": "cuda"}
        )
        command = [sys.executable, "-P", "-m", "training_engine", "report", finished, waits.job_id]
        prompts = ["take <one>", "9 "]
        asked = [part for prompt in prompts for part in ("--prompt", prompt)]
        where = ["--output", str(output), "--address", stack.address]
        subprocess.run([*command, *asked, *where], check=True, timeout=120)
        page = output.read_bytes().decode()  # samples may have line ends of any kind
        best = engine.checkpoints.find(finished)
        for prompt in prompts:
            drawn = engine.checkpoints.generate(best.checkpoint_id, prompt, max_tokens=200, seed=1)
            sample = f"studied: {escape(prompt)}</h3><pre>{escape(''.join(drawn))}</pre>"
            assert sample in page
            assert f"waits: {escape(prompt)}</h3><pre>" in page
        with pytest.raises(NotFoundError) as none:
            engine.checkpoints.find(waits.job_id)
        assert page.count(f"<pre>{escape(str(none.value))}</pre>") == len(prompts)
        waits.delete()


def load_step(path: Path) -> int:
    """The checkpoint's step, read by the library in this process."""
    import torch

    return int(torch.load(path, weights_only=True)["step"])


def test_rest_start_status_history_stream_and_download(
    api: httpx.Client, text_file: Path, tiny_config: Config
) -> None:
    answer = api.post("/jobs/start", json={"config": tiny_config, "dataset_path": str(text_file)})
    assert answer.status_code == 201, answer.text
    job_id = answer.json()["job_id"]

    events = read_events(api, f"/jobs/{job_id}/stream")
    steps = [json.loads(data)["step"] for kind, _, data in events if kind == "metrics"]
    assert steps == list(range(1, 61))
    assert [json.loads(data)["status"] for kind, _, data in events if kind == "state"][-1] == (
        "succeeded"
    )
    middle = next(
        n
        for n, event in enumerate(events)
        if event[0] == "metrics" and steps[30:] and json.loads(event[2])["step"] == 30
    )
    again = read_events(api, f"/jobs/{job_id}/stream", {"Last-Event-ID": events[middle][1]})
    # Ids may differ: a live reader meets the log lines between other points.
    assert [data for kind, _, data in again if kind == "metrics"] == [
        data for kind, _, data in events[middle + 1 :] if kind == "metrics"
    ]

    status = api.get(f"/jobs/{job_id}/status").json()
    assert {key: status[key] for key in ("status", "current_step", "max_steps", "progress")} == {
        "status": "succeeded",
        "current_step": 60,
        "max_steps": 60,
        "progress": 1.0,
    }
    assert status["resumed_from_step"] is None
    assert status["completed_at"].endswith("Z")

    assert read_history(api, job_id, page_size=17) == list(range(1, 61))
    assert read_history(api, job_id, page_size=50, after_step=41) == list(range(42, 61))
    assert api.get(f"/jobs/{job_id}/metrics").json()["step"] == 60
    assert api.get(f"/jobs/{job_id}/throughput").json()["tokens_seen"] == 60 * 4 * 32

    checkpoint = api.get(f"/jobs/{job_id}/checkpoints").json()["checkpoints"][-1]
    assert (checkpoint["job_id"], checkpoint["step"]) == (job_id, 60)
    url = f"/checkpoints/{checkpoint['checkpoint_id']}/download"
    whole = api.get(url)
    assert whole.headers["etag"] == f'"{checkpoint["sha256"]}"'
    assert hashlib.sha256(whole.content).hexdigest() == checkpoint["sha256"]
    part = api.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])

    assert api.get("/jobs").json()["jobs"][0]["job_id"] == job_id


def read_events(
    api: httpx.Client, path: str, headers: dict[str, str] | None = None
) -> list[tuple[str, str, str]]:
    """(event, id, data) of a whole SSE stream."""
    events = []
    with api.stream("GET", path, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif not line and "data" in fields:
                events.append((fields["event"], fields["id"], fields["data"]))
                fields = {}
    return events


def read_history(api: httpx.Client, job_id: str, **query: int) -> list[int]:
    """Steps of the whole history, page by page."""
    steps: list[int] = []
    token = ""
    while True:
        page = api.get(
            f"/jobs/{job_id}/metrics/history", params={**query, "page_token": token}
        ).json()
        assert len(page["points"]) <= query["page_size"]
        steps += [point["step"] for point in page["points"]]
        if not (token := page["next_page_token"]):
            return steps


@pytest.mark.parametrize("door", ["grpc", "rest"])
def test_stop_saves_a_checkpoint_and_resume_continues(
    stack: RunningStack, text_file: Path, tiny_config: Config, door: str
) -> None:
    engine = (
        TrainingEngine(stack.address) if door == "grpc" else TrainingEngine.over_rest(stack.url)
    )
    tiny_config |= {"max_steps": 100_000, "save_steps": 100_000, "eval_steps": 100_000}
    with engine:
        job = engine.jobs.start(config=tiny_config, dataset_path=str(text_file))
        wait_until(lambda: engine.jobs.get(job.job_id).current_step >= 5, "five steps")
        job.stop()
        stopped = job.wait(timeout=30)
        assert stopped.status == "stopped"
        (checkpoint,) = stopped.checkpoints()
        assert checkpoint.step == stopped.current_step

        resumed = stopped.resume(max_steps=stopped.current_step + 20)
        done = resumed.wait(timeout=60)
        assert (done.status, done.attempt) == ("succeeded", 2)
        assert done.resumed_from_step == checkpoint.step
        steps = [point.step for point in engine.metrics.history(job.job_id)]
        assert steps == list(range(1, checkpoint.step + 21))


def test_a_fork_that_keeps_the_optimizer_is_what_its_parent_would_have_been(
    stack: RunningStack, text_file: Path, tiny_config: Config, tmp_path: Path
) -> None:
    tiny_config |= {"max_steps": 12, "save_steps": 4, "max_checkpoints_to_keep": 5}
    other = text_file.with_name("other.txt")
    other.write_text("to be or not to be, that is the question\n" * 200)
    with TrainingEngine(stack.address) as engine:
        parent = engine.jobs.start(config=tiny_config, dataset_path=str(text_file)).wait(60)
        _, middle, last = parent.checkpoints()
        same = engine.jobs.fork(checkpoint_id=middle.checkpoint_id).wait(60)
        assert (same.status, same.current_step, same.fork_step) == ("succeeded", 12, 8)
        assert same.exactness_notes == ()
        assert [point.step for point in same.history()] == [9, 10, 11, 12]
        expected = [point.loss for point in parent.history(after_step=8)]
        assert [point.loss for point in same.history()] == expected
        own = same.checkpoints()[-1]
        assert sameness(engine, last.checkpoint_id, own.checkpoint_id, tmp_path)
        changed = engine.jobs.fork(
            checkpoint_id=own.checkpoint_id,
            config={"max_steps": 16, "batch_size": 2, "sequence_length": 16},
            dataset_path=str(other),
        ).wait(60)
        assert (changed.status, changed.current_step) == ("succeeded", 16)
        fresh = engine.jobs.fork(job_id=changed.job_id, optimizer="fresh").wait(60)
        assert fresh.status == "succeeded"
        assert [point.step for point in fresh.history()] == list(range(1, 17))


def sameness(engine: TrainingEngine, one: str, other: str, folder: Path) -> bool:
    """Whether two checkpoints have the same weights, bit for bit."""
    import torch

    paths = [engine.checkpoints.download(each, folder / f"{each}.pt") for each in (one, other)]
    first, second = (torch.load(path, weights_only=True)["model_state_dict"] for path in paths)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_bad_input_gets_the_same_clear_answer_at_every_door(
    stack: RunningStack, api: httpx.Client, text_file: Path, tiny_config: Config
) -> None:
    bad = tiny_config | {"learning_rate": -1, "bach_size": 3}
    with TrainingEngine(stack.address) as engine:
        with pytest.raises(InvalidConfigError) as refused:
            engine.jobs.start(config=bad, dataset_path=str(text_file))
        with pytest.raises(NotFoundError, match="job_missing"):
            engine.jobs.get("job_missing")
        with pytest.raises(TrainingEngineError, match=r"nowhere\.txt") as missing:
            engine.jobs.start(
                config=tiny_config, dataset_path=str(text_file.parent / "nowhere.txt")
            )
    assert missing.value.code == "path_not_found"
    answer = api.post("/jobs/start", json={"config": bad, "dataset_path": str(text_file)})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["reason"] == refused.value.code == "invalid_config"
    assert {error["field"] for error in problem["errors"]} == {"learning_rate", "bach_size"}
    assert "batch_size" in str(problem["errors"])
    assert api.get("/jobs/job_missing/status").status_code == 404
    outside = api.post("/jobs/start", json={"config": tiny_config, "dataset_path": "/etc/passwd"})
    assert (outside.status_code, outside.json()["reason"]) == (400, "path_not_allowed")


def test_grpcurl_lists_services_and_streams_metrics(
    stack: RunningStack, text_file: Path, tiny_config: Config
) -> None:
    listed = grpcurl(stack.address, "list").split()
    assert {
        f"training_engine.v1.{name}Service"
        for name in ("Config", "Job", "Metrics", "Checkpoint", "Dataset", "Generation", "Worker")
    } <= set(listed)
    assert "grpc.health.v1.Health" in listed
    request = json.dumps(
        {"config_document": json.dumps(tiny_config), "dataset_path": str(text_file)}
    )
    started = json.loads(
        grpcurl("-d", request, stack.address, "training_engine.v1.JobService/StartJob")
    )
    job_id = json.dumps({"job_id": started["job"]["job_id"]})
    streamed = grpcurl(
        "-d", job_id, stack.address, "training_engine.v1.MetricsService/StreamMetrics"
    )
    assert streamed.count('"cursor"') == 60


def grpcurl(*arguments: str) -> str:
    """What grpcurl prints."""
    flags = [a for a in arguments if a.startswith(("-", "{"))]
    rest = [a for a in arguments if a not in flags]
    return subprocess.run(
        [GRPCURL, "-plaintext", *flags, *rest],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
