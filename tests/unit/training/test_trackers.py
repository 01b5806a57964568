"""Trackers show each step once, whatever happened to the run, and stop or delay nothing."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import tracking_server
from tensorboardX.proto.event_pb2 import Event, SessionLog

from app.training import Trainer, TrainingConfig
from app.training.errors import TrainingError
from app.training.trackers.background import BackgroundTracker
from app.training.trackers.csv_file import CsvFile
from app.training.trackers.protocol import Line, TrackedRun
from app.transformer import ConfigError

Make = Callable[..., Trainer]


class CrashError(Exception):
    """Ends a run as a defect would."""


class CrashAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, step: int, metrics: Any) -> None:
        if step == self.step:
            raise CrashError


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.csv with the values that they have, as the journal has them."""
    with (folder / "trackers/metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    return [
        {name: int(v) if name == "step" else float(v) for name, v in line.items() if v}
        for line in lines
    ]


def events(folder: Path) -> list[Event]:
    """The events of all files in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((folder / "trackers/tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def shown(folder: Path) -> list[tuple[int, str, float]]:
    """What TensorBoard shows: a start voids what was logged before from its step on."""
    values = list[tuple[int, str, float]]()
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            values = [value for value in values if value[0] < event.step]
        values += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return values


def single(value: float) -> float:
    """The value in TensorBoard's precision."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def test_a_run_that_crashed_and_resumed_has_each_step_once(
    make_trainer: Make, drawing_dataset: Any, tmp_path: Path
) -> None:
    settings = {"trackers": ["csv", "tensorboard"], "save_steps": 3, "eval_steps": 4}
    trainer = make_trainer(val=drawing_dataset, callbacks=[CrashAt(5)], **settings)
    with pytest.raises(CrashError):
        trainer.train()
    folder = tmp_path / "run"
    assert [row["step"] for row in rows(folder)] == [1, 2, 3, 4, 5]
    with (folder / "trackers/metrics.csv").open("a") as file:
        file.write("6,0.1")  # a writer that was killed
    make_trainer(val=drawing_dataset, resume_from_checkpoint=True, **settings).train()
    expected = journal(folder)
    assert [line["step"] for line in expected] == list(range(1, 9))
    assert rows(folder) == expected
    assert shown(folder) == [
        (line["step"], name, single(value))
        for line in expected
        for name, value in line.items()
        if name != "step"
    ]
    assert len(list((folder / "trackers/tensorboard").iterdir())) == 2


def test_a_new_run_in_a_used_folder_keeps_the_older_files(
    make_trainer: Make, tmp_path: Path
) -> None:
    for _ in range(2):
        make_trainer(trackers=["csv"], max_steps=2).train()
    assert len(rows(tmp_path / "run")) == 2
    (aside,) = (tmp_path / "run").glob("previous*")
    assert len(rows(aside)) == 2


def test_a_column_that_comes_late_keeps_the_rows_before(tmp_path: Path) -> None:
    tracker, config = CsvFile(), TrainingConfig()
    tracker.start(TrackedRun(config, "run", tmp_path, 0))
    tracker.log([Line(1, 0.0, {"loss": 0.1}), Line(2, 0.0, {"loss": math.inf})])
    tracker.log([Line(3, 0.0, {"loss": 0.3, "val_loss": 0.7})])
    tracker.finish()
    expected = "step,loss,val_loss\n1,0.1,\n2,inf,\n3,0.3,0.7\n"
    assert (tmp_path / "metrics.csv").read_text() == expected
    after = CsvFile()
    after.start(TrackedRun(config, "run", tmp_path, 1))
    tracker._file = None
    after.log([Line(2, 0.0, {"own": 5.0})])
    after.finish()
    assert (tmp_path / "metrics.csv").read_text() == ("step,loss,val_loss,own\n1,0.1,,\n2,,,5.0\n")


class Scripted:
    """A tracker that hangs until it is released, or fails."""

    name = "scripted"

    def __init__(self, error: Exception | None = None) -> None:
        self.released = threading.Event()
        self.error = error
        self.steps = list[int]()
        self.finished = False

    def require(self, run: TrackedRun) -> None:
        pass

    def start(self, run: TrackedRun) -> None:
        self.released.wait(60)

    def log(self, lines: Sequence[Line]) -> None:
        if self.error:
            raise self.error
        self.steps += [line.step for line in lines]

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.finished = True


def in_background(tracker: Scripted, **limits: Any) -> BackgroundTracker:
    return BackgroundTracker(tracker, TrackedRun(TrainingConfig(), "run", Path(), 0), **limits)


def test_a_tracker_that_hangs_delays_nothing_and_what_it_lacks_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hung = Scripted()
    background = in_background(hung, waiting_lines=10, sync_seconds=0.05)
    began = time.monotonic()
    for step in range(1, 16):
        background.log(Line(step, 0.0, {}))
    for _ in range(100):
        background.sync()  # waits for the first one alone
    background.end()
    background.join(time.monotonic() + 0.05)
    assert time.monotonic() - began < 3
    assert "scripted is slower than the run, and lacks step 11 and perhaps others" in caplog.text
    assert "scripted does not end and is left alone" in caplog.text
    assert "scripted lacks 15 of this run's lines" in caplog.text
    hung.released.set()


def test_all_that_waits_is_sent_before_the_end(caplog: pytest.LogCaptureFixture) -> None:
    slow = Scripted()
    background = in_background(slow)
    for step in range(1, 101):
        background.log(Line(step, 0.0, {}))
    slow.released.set()
    background.sync()
    assert slow.steps == list(range(1, 101))
    background.log(Line(101, 0.0, {}))
    background.end()
    background.join(time.monotonic() + 60)
    assert (slow.steps[-1], slow.finished, caplog.text) == (101, True, "")


def test_a_tracker_that_fails_is_off_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    failing = Scripted(ConnectionError("the network is away"))
    failing.released.set()
    background = in_background(failing)
    for step in range(1, 4):
        background.log(Line(step, 0.0, {}))
        background.sync()
    background.end()
    background.join(time.monotonic() + 60)
    assert caplog.text.count("scripted is off for the rest of this run (ConnectionError: the") == 1


def test_mlflow_continues_its_run_and_gets_each_step_once(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    settings = {"trackers": "mlflow", "mlflow_experiment": "small", "mlflow_run_name": "first"}
    with tracking_server() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.raises(CrashError):
            make_trainer(callbacks=[CrashAt(5)], save_steps=3, **settings).train()
        make_trainer(resume_from_checkpoint=True, save_steps=3, **settings).train()
    (run,) = server.runs.values()
    assert server.experiments == {"small": "1"}
    assert (run["info"]["run_name"], run["info"]["status"]) == ("first", "FINISHED")
    losses = {m["step"]: m["value"] for m in run["data"]["metrics"] if m["key"] == "loss"}
    assert losses == {line["step"]: line["loss"] for line in journal(tmp_path / "run")}
    counts = Counter((metric["key"], metric["step"]) for metric in run["data"]["metrics"])
    assert set(counts.values()) == {1}
    parameters = {each["key"]: each["value"] for each in run["data"]["params"]}
    assert parameters["model_config.hidden_size"] == "32"


@pytest.mark.parametrize(
    ("settings", "package", "message"),
    [
        ({"trackers": ["csv", "tensorboard"]}, "tensorboardX",
         "`trackers` is 'tensorboard', which needs the package tensorboardX, and that is not "
         "installed; install it with pip install 'training-engine[tensorboard]', or leave the "
         "tracker out"),
        ({"trackers": ["mlflow"]}, "mlflow", "needs the package mlflow, and that is not installed"),
        ({"wandb_project": "test"}, "wandb",
         "`wandb_project` is 'test', which needs the package wandb, and that is not installed"),
    ],
)  # fmt: skip
def test_a_tracker_that_is_not_installed_is_said_before_the_first_step(
    make_trainer: Make,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    package: str,
    message: str,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "app.training.trackers.requirements.find_spec",
        lambda name: None if name == package else found(name),
    )
    trainer = make_trainer(**settings)
    with pytest.raises(ConfigError) as caught:
        trainer.train()
    assert message in str(caught.value)
    assert trainer.step == 0


def test_mlflow_without_an_address_is_said_before_the_first_step(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trainer = make_trainer(trackers=["mlflow"])
    with pytest.raises(ConfigError, match="`trackers` has 'mlflow' and MLFLOW_TRACKING_URI is not"):
        trainer.train()
    assert trainer.step == 0


@pytest.mark.parametrize("tracker", ["csv", "tensorboard"])
def test_a_folder_that_cannot_be_written_is_said_before_the_first_step(
    make_trainer: Make, tmp_path: Path, tracker: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/trackers").write_text("in the way")
    trainer = make_trainer(trackers=[tracker])
    with pytest.raises(TrainingError, match=rf"run/trackers.* cannot be written .*'{tracker}' has"):
        trainer.train()
    assert trainer.step == 0


def test_names_of_trackers_follow_a_rule() -> None:
    _, problems = TrainingConfig.read({"trackers": ["csv", "wandb"]})
    assert [problem.message for problem in problems] == [
        "`trackers` is ['csv', 'wandb']; it must be a list of csv, tensorboard and mlflow, each "
        "once; leave others out; `wandb_project` turns Weights & Biases on"
    ]
    assert TrainingConfig.from_dict({"trackers": "csv"}).trackers == ["csv"]
    assert TrainingConfig.read({"trackers": ["csv", "csv"]})[1]
