"""REST, the SDK over both transports and `--json` say the same, field by field.

REST is the yardstick: every name, type, null and time of its answers is expected of the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_stack import RunningStack, wait_until
from typer.testing import CliRunner

from training_engine import TrainingEngine, TrainingEngineError
from training_engine.cli.app import app
from training_engine.cli.exit_codes import INVALID_CONFIG, OK, USAGE
from training_engine.records import to_plain

Json = Any


@dataclass
class Doors:
    """One stack, asked in every way."""

    api: httpx.Client
    engines: dict[str, TrainingEngine]
    flags: dict[str, list[str]]
    job_id: str
    """A job that has succeeded, resumed once and validated."""
    failed_id: str
    """A job that has failed and has neither name nor checkpoint."""

    def rest(self, path: str, **query: Any) -> Json:
        answer = self.api.get(path, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    def sdk(self, ask: Callable[[TrainingEngine], Any]) -> dict[str, Json]:
        """What each transport gives, as JSON would carry it."""
        return {
            f"the SDK over {name}": json.loads(json.dumps(to_plain(ask(engine)), allow_nan=False))
            for name, engine in self.engines.items()
        }

    def cli(self, *arguments: str) -> dict[str, Json]:
        """What a command prints through each transport; a list where it prints lines."""
        return {
            f"{arguments[0]} --json over {name}": self._run([*flags, *arguments, "--json"])
            for name, flags in self.flags.items()
        }

    @staticmethod
    def _run(arguments: list[str]) -> Json:
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code in (OK, INVALID_CONFIG), ran.output
        if ran.stdout.startswith("{\n"):
            return json.loads(ran.stdout)
        return [json.loads(line) for line in ran.stdout.splitlines()]


def assert_all(expected: Json, *answers: dict[str, Json]) -> None:
    for answer in answers:
        for door, given in answer.items():
            assert given == expected, door
            assert types_of(given) == types_of(expected), door


def types_of(value: Json) -> Json:
    """Tells 1 from 1.0 and True, which are equal in Python and not in JSON."""
    if isinstance(value, dict):
        return {key: types_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [types_of(item) for item in value]
    return type(value).__name__


@pytest.fixture(scope="module")
def doors(stack: RunningStack, text_file: Path) -> Iterator[Doors]:
    model = {"vocab_size": 256, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    config = {
        "model_config": {**model, "max_position_embeddings": 32}, "batch_size": 4, "max_steps": 4,
        "warmup_steps": 9, "logging_steps": 1, "eval_steps": 2, "save_steps": 2,
    }  # fmt: skip
    with (
        httpx.Client(base_url=f"{stack.url}/api/training", timeout=30) as api,
        TrainingEngine(stack.address) as by_grpc,
        TrainingEngine.over_rest(stack.url) as by_rest,
    ):
        job = by_grpc.jobs.start(config, dataset_path=str(text_file), name="agreed")
        assert job.wait(60).status == "succeeded"
        (first, *_) = job.checkpoints()
        job.resume(first.checkpoint_id)
        assert job.wait(60).status == "succeeded"
        torn = text_file.parent / "torn.jsonl"
        # Past the part that a start looks at.
        torn.write_text('{"text": "to be or not to be"}\n' * 40_000 + '{"other": 1}\n')
        failed = by_grpc.jobs.start(config, dataset_path=str(torn))
        assert failed.wait(60).status == "failed"
        yield Doors(
            api=api,
            engines={"gRPC": by_grpc, "REST": by_rest},
            flags={"gRPC": ["--address", stack.address], "REST": ["--url", stack.url]},
            job_id=job.job_id,
            failed_id=failed.job_id,
        )


def test_a_look_into_data_with_a_service_and_without(doors: Doors, text_file: Path) -> None:
    looked = doors.cli("inspect", str(text_file), "--set", "sequence_length=32")
    local = CliRunner().invoke(
        app, ["inspect", str(text_file), "--set", "sequence_length=32", "--json", "--local"]
    )
    assert_all(json.loads(local.stdout), looked)


def test_a_job(doors: Doors) -> None:
    for job_id in (doors.job_id, doors.failed_id):
        job = doors.rest(f"/jobs/{job_id}")
        assert_all(
            job,
            doors.sdk(lambda engine, id=job_id: engine.jobs.get(id)),
            doors.cli("status", job_id),
        )
        status = doors.rest(f"/jobs/{job_id}/status")
        assert status == {name: job[name] for name in status}
        assert job["worker_id"]
        assert job["config_id"] is None
    assert (job["error_reason"], job["resumed_from_step"], job["config"]["dataset_path"]) == (
        "invalid_data",
        None,
        job["dataset_path"],
    )


def test_jobs_in_a_list(doors: Doors) -> None:
    rows = doors.rest("/jobs")["jobs"]
    assert {"config"} == doors.rest(f"/jobs/{doors.job_id}").keys() - rows[0].keys()
    assert_all(rows, doors.sdk(lambda engine: list(engine.jobs.list())))
    assert_all({"jobs": rows}, doors.cli("list"))


def test_tags_and_notes(doors: Doors) -> None:
    id, failed = doors.job_id, doors.failed_id
    changed = doors.api.patch(
        f"/jobs/{id}", json={"add_tags": ["a:1", "b"], "notes": "Größe"}
    ).json()
    assert (changed["tags"], changed["notes"]) == (["a:1", "b"], "Größe")
    change = {"add_tags": ["b", "a:1"], "remove_tags": ["c"]}
    for door, job in doors.sdk(lambda engine: engine.jobs.update(id, **change)).items():
        assert job == {**changed, "updated_at": job["updated_at"]}, door
    updated = doors.cli("update", id, failed, "--add-tag", "b", "--remove-tag", "c")
    assert_all({"jobs": [{"job_id": each, "error": None} for each in (id, failed)]}, updated)
    for query, options, found in (
        ({"tags": ["b"]}, ["--tag", "b"], [failed, id]),
        ({"tags": ["b", "a:1"]}, ["--tag", "b", "--tag", "a:1"], [id]),
        ({"search": "GRÖSSE agreed"}, ["--search", "GRÖSSE agreed"], [id]),
    ):
        rows = doors.rest("/jobs", **query)["jobs"]
        assert [row["job_id"] for row in rows] == found
        assert_all(rows, doors.sdk(lambda engine, q=query: list(engine.jobs.list(**q))))
        assert_all({"jobs": rows}, doors.cli("list", *options))
    refused = doors.api.patch(f"/jobs/{id}", json={"tags": ["a"]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "tags")


def test_a_job_that_is_started_stopped_and_resumed(
    doors: Doors, tmp_path: Path, text_file: Path
) -> None:
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(doors.rest(f"/jobs/{doors.job_id}")["config"]))
    started = doors.cli("start", str(config), "--dataset", str(text_file))
    body = {"config": config.read_text(), "dataset_path": str(text_file)}
    expected = doors.api.post("/jobs/start", json=body).json()
    for door, job in started.items():
        assert types_of(job) == types_of(expected), door
    for name, job in zip(doors.flags, started.values(), strict=True):
        id = job["job_id"]
        wait_until(lambda id=id: doors.rest(f"/jobs/{id}")["completed_at"], "its end")
        resume = [*doors.flags[name], "resume", id, "--max-steps", "5", "--json"]
        resumed = doors._run(resume)
        whole = doors.rest(f"/jobs/{id}")
        assert resumed.keys() == whole.keys(), name
        fixed = ("job_id", "name", "created_at", "config", "dataset_path", "max_steps", "execution")
        assert {key: resumed[key] for key in fixed} == {key: whole[key] for key in fixed}, name


def test_what_a_job_measured(doors: Doors) -> None:
    id = doors.job_id
    latest = doors.rest(f"/jobs/{id}/metrics")
    assert (latest.pop("job_id"), latest["attempt"], latest["created_at"]) == (id, None, None)
    assert_all(latest, doors.sdk(lambda engine: engine.metrics.get(id)))
    speed = doors.rest(f"/jobs/{id}/throughput")
    assert speed.pop("job_id") == id
    assert_all(speed, doors.sdk(lambda engine: engine.metrics.throughput(id)))
    points = doors.rest(f"/jobs/{id}/metrics/history")["points"]
    assert [point["step"] for point in points] == [1, 2, 3, 4]
    for point in (latest, *points):  # what a callback of the worker adds; see `conftest.stack`
        assert list(point["custom"]) == ["weights/norm", "wild"]
        assert point["custom"]["weights/norm"] > 0
        assert point["custom"]["wild"] is None
    assert_all(points, doors.sdk(lambda engine: list(engine.metrics.history(id))))
    assert_all(points, doors.sdk(lambda engine: list(engine.metrics.stream(id))))
    chart = doors.rest(f"/jobs/{id}/metrics/history", max_points=2)["points"]
    norms = [point["custom"]["weights/norm"] for point in points]
    assert sorted(point["custom"]["weights/norm"] for point in chart) == [min(norms), max(norms)]
    assert_all(chart, doors.sdk(lambda engine: list(engine.metrics.history(id, max_points=2))))


def test_curves_and_a_comparison_of_several_jobs(doors: Doors) -> None:
    ids = [doors.job_id, doors.failed_id]
    asked: dict[str, Any] = {"metrics": ["val_loss", "weights/norm"], "smoothing": 0.5}
    drawn = doors.rest("/metrics/series", job_ids=ids, x_axis="tokens", **asked)
    assert_all(
        drawn,
        doors.sdk(lambda engine: engine.metrics.series(job_ids=ids, x_axis="tokens", **asked)),
        doors.cli("curves", *ids, "--metric", "val_loss", "--metric", "weights/norm",
                  "--x", "tokens", "--smoothing", "0.5"),
    )  # fmt: skip
    assert [(each["metric"], each["count"]) for each in drawn["series"]] == [
        ("val_loss", 2), ("weights/norm", 4), ("val_loss", 0), ("weights/norm", 0),
    ]  # fmt: skip
    assert drawn["series"][0]["x"][1] == doors.rest(f"/jobs/{ids[0]}/metrics")["tokens_seen"]
    assert doors.rest("/metrics/series", job_ids=ids, after=drawn["cursor"])["series"] == []
    first, second = doors.cli("compare", "agreed", doors.failed_id).values()
    assert first == second
    row, failed = first["jobs"]
    best = min(p["val_loss"] for p in points_of(doors) if p["val_loss"] is not None)
    assert (row["best val_loss"], failed["best val_loss"]) == (best, None)
    assert set(first["differences"]) == {"dataset_path"}
    printed = CliRunner().invoke(app, [*doors.flags["gRPC"], "compare", *ids, "--csv"])
    heads, *lines = printed.stdout.splitlines()
    assert heads.startswith("job_id,name,status,step,best val_loss,last val_loss")
    assert [line.split(",")[0] for line in lines] == ids
    matched, _ = doors.cli("compare", "agree*", "--status", "failed").values()
    own, *others = matched["jobs"]  # other tests' jobs may have failed too
    assert own["job_id"] == doors.job_id
    assert doors.failed_id in [row["job_id"] for row in others]
    assert {row["status"] for row in others} == {"failed"}
    for name, flags in doors.flags.items():
        refused = CliRunner().invoke(app, [*flags, "curves", "agreed", "--metric", "los"])
        assert refused.exit_code != OK, name
        assert "they have " in refused.output, name
        assert "weights/norm" in refused.output, name
    answer = doors.api.get("/metrics/series", params={"job_ids": ids, "smoothing": 1})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "smoothing")
    assert doors.api.get("/metrics/series").status_code == 400


def test_a_fork_of_the_newest_checkpoint(doors: Doors) -> None:
    saved = doors.rest(f"/jobs/{doors.job_id}/checkpoints")["checkpoints"]
    newest = max(saved, key=lambda one: one["step"])
    asked = ["--latest", "--set", "max_steps=1"]  # refused, with the step of what was taken
    for name, flags in doors.flags.items():
        refused = CliRunner().invoke(app, [*flags, "fork", doors.job_id, *asked])
        assert f"the checkpoint is of step {newest['step']};" in refused.output, name
        refused = CliRunner().invoke(app, [*flags, "fork", newest["checkpoint_id"], "--latest"])
        assert (refused.exit_code, "--latest is" in refused.output) == (USAGE, True), name


def points_of(doors: Doors) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = doors.rest(f"/jobs/{doors.job_id}/metrics/history")["points"]
    return found


def test_checkpoints(doors: Doors) -> None:
    listed = doors.rest(f"/jobs/{doors.job_id}/checkpoints")["checkpoints"]
    best = min(listed, key=lambda one: float(one["val_loss"]))
    assert [one["checkpoint_id"] for one in listed if one["is_best"]] == [best["checkpoint_id"]]
    assert_all(listed, doors.sdk(lambda engine: list(engine.checkpoints.list(doors.job_id))))
    assert_all({"checkpoints": listed}, doors.cli("checkpoints", doors.job_id))
    one = doors.rest(f"/checkpoints/{best['checkpoint_id']}")
    assert one == best
    assert_all(one, doors.sdk(lambda engine: engine.checkpoints.get(best["checkpoint_id"])))


def test_logs(doors: Doors) -> None:
    lines = doors.rest(f"/jobs/{doors.job_id}/logs")["lines"]
    assert lines
    assert_all(lines, doors.sdk(lambda engine: list(engine.jobs.logs(doors.job_id))))
    assert_all(lines, doors.cli("logs", doors.job_id))


def test_events(doors: Doors) -> None:
    text = doors.api.get(f"/jobs/{doors.job_id}/stream").text
    sent = [
        dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n")[:-1]
    ]
    events = [
        {"event": one["event"], "cursor": one["id"], "data": json.loads(one["data"])}
        for one in sent
    ]
    assert {one["event"] for one in events} == {"state", "metrics", "checkpoint", "log", "rewound"}
    ends = [one["data"] for one in events if one["event"] == "state"]
    assert [one["running_seconds"] for one in ends] == sorted(
        one["running_seconds"] for one in ends
    )
    for printed in (
        doors.cli("watch", doors.job_id),
        doors.sdk(lambda engine: watched(engine, doors.job_id)),
    ):
        for door, given in printed.items():
            # A job's fields that its events do not carry are told as they are now.
            assert given == events, door


def watched(engine: TrainingEngine, job_id: str) -> list[dict[str, Any]]:
    return [
        {"event": event.kind, "cursor": event.cursor, "data": event.data}
        for event in engine.jobs.watch(job_id)
    ]


def test_configurations(doors: Doors, tmp_path: Path) -> None:
    document = {"max_steps": 10, "warmup_steps": 20}
    created = doors.api.post("/configs", json={"name": "a", "config": document}).json()
    assert created["warnings"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    fresh = {
        **doors.sdk(lambda engine: engine.configs.create("a", document)),
        **doors.cli("configs", "create", str(tmp_path / "a.json")),
    }
    of_its_own = ("config_id", "created_at")
    for door, given in fresh.items():
        assert types_of(given) == types_of(created), door
        assert {**given, **{name: created[name] for name in of_its_own}} == created, door
    id = created["config_id"]
    stored = doors.rest(f"/configs/{id}")
    assert stored == {name: value for name, value in created.items() if name != "warnings"}
    assert_all(
        stored, doors.sdk(lambda engine: engine.configs.get(id)), doors.cli("configs", "show", id)
    )
    listed = doors.rest("/configs")["configs"]
    assert_all(listed, doors.sdk(lambda engine: list(engine.configs.list())))
    assert_all({"configs": listed}, doors.cli("configs", "list"))


@pytest.mark.parametrize(
    "document", [{"max_steps": 10}, {"learning_rate": -1}, {"model_conifg": {"num_layers": 2}}]
)
def test_verdicts(doors: Doors, tmp_path: Path, document: dict[str, Any]) -> None:
    verdict = doors.api.post("/configs/validate", json={"config": document}).json()
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert_all(
        verdict,
        doors.sdk(lambda engine: engine.configs.validate(document)),
        doors.cli("validate", str(tmp_path / "a.json")),
    )
    # Of a misspelt model nothing is known; the defaults' parameters are not its own.
    assert (verdict["num_parameters"] is None) == ("model_conifg" in document)


def test_datasets(doors: Doors, text_file: Path) -> None:
    uploaded = {
        **doors.sdk(lambda engine: engine.datasets.upload(text_file)),
        **doors.cli("datasets", "upload", str(text_file)),
    }
    for door, dataset in uploaded.items():
        stored = doors.rest(f"/datasets/{dataset['dataset_id']}")
        assert dataset == stored, door
    id = stored["dataset_id"]
    assert_all(
        stored, doors.sdk(lambda engine: engine.datasets.get(id)), doors.cli("datasets", "show", id)
    )
    listed = doors.rest("/datasets")["datasets"]
    assert_all(listed, doors.sdk(lambda engine: list(engine.datasets.list())))
    assert_all({"datasets": listed}, doors.cli("datasets", "list"))


def test_an_evaluation(doors: Doors, text_file: Path, tmp_path: Path) -> None:
    newest = doors.rest(f"/jobs/{doors.job_id}/checkpoints")["checkpoints"][-1]["checkpoint_id"]
    body = {"dataset_path": str(text_file), "stride": 16, "stream": False}
    measured = doors.api.post(f"/checkpoints/{newest}/evaluate", json=body).json()
    assert (measured.pop("checkpoint_id"), measured["stride"]) == (newest, 16)
    uploaded = doors.engines["gRPC"].datasets.upload(text_file).dataset_id
    command = ("evaluate", newest, "--stride", "16", "--data")
    assert_all(
        measured,
        doors.sdk(lambda engine: engine.checkpoints.evaluate(newest, str(text_file), stride=16)),
        doors.cli(*command, str(text_file)),
        doors.cli(*command, uploaded),
    )
    here = doors._run([*doors.flags["gRPC"], *command, str(text_file), "--json", "--local"])
    assert here == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize("name", ["foreign", "empty", "stride", "documents", "checkpoint"])
def test_an_evaluation_that_is_refused(doors: Doors, text_file: Path, name: str) -> None:
    newest = doors.rest(f"/jobs/{doors.job_id}/checkpoints")["checkpoints"][-1]["checkpoint_id"]
    content = {"foreign": '{"input_ids": [1, 300, 2]}\n', "empty": ""}.get(name)
    data = text_file
    if content is not None:
        data = text_file.with_name("ids.jsonl" if content else "empty.txt")
        data.write_text(content)
    options = {"stride": 33 if name == "stride" else 8, "separate_documents": name == "documents"}
    checkpoint = "ckpt_" + "0" * 26 if name == "checkpoint" else newest
    reason, text = {
        "foreign": ("invalid_data", "holds the token 300"),
        "empty": ("invalid_data", "empty"),
        "stride": ("invalid_argument", "`stride` is 33; it must be at least 1 and at most 32"),
        "documents": ("invalid_argument", "the tokenizer of the data has no end of text"),
        "checkpoint": ("checkpoint_not_found", "there is no checkpoint"),
    }[name]
    body = {"dataset_path": str(data), **options, "stream": False}
    problem = doors.api.post(f"/checkpoints/{checkpoint}/evaluate", json=body).json()
    assert problem["reason"] == reason
    assert text in problem["detail"]
    for engine in doors.engines.values():
        with pytest.raises(TrainingEngineError) as refused:
            engine.checkpoints.evaluate(checkpoint, str(data), **options)
        assert (refused.value.code, str(refused.value)) == (reason, problem["detail"])
    asked = ["evaluate", checkpoint, "--data", str(data), "--stride", str(options["stride"])]
    asked += ["--separate-documents"] * options["separate_documents"]
    for flags in doors.flags.values():
        ran = CliRunner().invoke(app, [*flags, *asked])
        assert ran.exit_code != OK
        assert problem["detail"] in " ".join(ran.stderr.split())


def test_workers(doors: Doors) -> None:
    def quiet(workers: list[Json]) -> list[Json]:
        """Without the time of the last heartbeat, which is another one each time."""
        return [{**worker, "last_heartbeat": len(worker["last_heartbeat"])} for worker in workers]

    wait_until(
        lambda: all(one["state"] == "idle" for one in doors.rest("/workers")["workers"]),
        "idle workers",
    )
    workers = doors.rest("/workers")["workers"]
    assert (workers[0]["job_id"], workers[0]["attempt"]) == (None, None)
    for door, given in doors.sdk(lambda engine: list(engine.workers.list())).items():
        assert quiet(given) == quiet(workers), door
    for door, printed in doors.cli("workers").items():
        assert quiet(printed["workers"]) == quiet(workers), door
