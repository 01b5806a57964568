"""What a run tells: its journal, its callbacks, its tracker, its throughput."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import Trainer, TrainingConfig
from app.training.callbacks import CallbackList
from app.training.checkpoint import CheckpointError, CheckpointInfo
from app.training.errors import TrainingError
from app.training.journal import StepJournal
from app.training.metric_names import METRIC_NAMES

Make = Callable[..., Trainer]


class Recorder:
    """Has every hook and remembers the order in which they were called."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.infos: list[CheckpointInfo] = []

    def on_train_start(self) -> None:
        self.events.append(("start",))

    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        self.events.append(("step", step))

    def on_log(self, step: int, metrics: dict[str, float]) -> None:
        self.events.append(("log", step))

    def on_evaluate_start(self, step: int) -> None:
        self.events.append(("evaluating", step))

    def on_evaluate(self, step: int, metrics: dict[str, float]) -> None:
        self.events.append(("evaluated", step))

    def on_checkpoint(self, info: CheckpointInfo) -> None:
        assert Path(info.path).with_suffix(".json").exists()
        self.infos.append(info)
        self.events.append(("checkpoint", info.step))

    def on_rotate(self, paths: list[str]) -> None:
        self.events.append(("rotate", *[Path(path).name for path in paths]))

    def on_train_end(self) -> None:
        self.events.append(("end",))


def journal_of(trainer: Trainer) -> list[dict[str, Any]]:
    text = (Path(trainer.config.checkpoint_dir) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_hooks_are_called_in_order(make_trainer: Make, fixed_dataset: Any) -> None:
    recorder = Recorder()
    trainer = make_trainer(
        val=fixed_dataset(size=3),
        callbacks=[recorder, object()],
        max_steps=5,
        logging_steps=2,
        eval_steps=4,
        save_steps=2,
        max_checkpoints_to_keep=1,
    )
    trainer.train()
    saves = [event for event in recorder.events if event[0] in ("checkpoint", "rotate")]
    assert saves == [
        ("checkpoint", 2),
        ("checkpoint", 4),
        ("rotate", "checkpoint_step_2.pt"),
        ("checkpoint", 5),
        *([("rotate", "checkpoint_step_4.pt")] if recorder.infos[-1].is_best else []),
    ]
    assert [event for event in recorder.events if event not in saves] == [
        ("start",),
        ("step", 1),
        ("log", 2),
        ("step", 2),
        ("step", 3),
        ("log", 4),
        ("evaluating", 4),
        ("evaluated", 4),
        ("step", 4),
        ("log", 5),
        ("evaluating", 5),
        ("evaluated", 5),
        ("step", 5),
        ("end",),
    ]


def test_the_journal_holds_each_step_once_with_the_contract_s_names(
    make_trainer: Make, fixed_dataset: Any
) -> None:
    trainer = make_trainer(val=fixed_dataset(size=3), max_steps=5, logging_steps=2, eval_steps=4)
    trainer.train()
    lines = journal_of(trainer)
    assert [line["step"] for line in lines] == [2, 4, 5]
    logged = {
        "step",
        "loss",
        "perplexity",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "steps_per_second",
        "tokens_seen",
    }
    assert logged <= set(lines[0])
    assert set(lines[1]) >= logged | {"val_loss", "val_perplexity"}
    assert set().union(*lines) <= {"step"} | METRIC_NAMES
    # 21 samples of 16 targets, 4 at a time
    assert [line["tokens_seen"] for line in lines] == [128, 256, 320]
    assert trainer.metrics_tracker.get_averages()["lr"] == pytest.approx(
        sum(line["lr"] for line in lines) / 3
    )


def test_validation_is_weighted_by_tokens(make_trainer: Make, fixed_dataset: Any) -> None:
    data = fixed_dataset(size=7, ragged=True)
    trainer = make_trainer(val=data, max_steps=1, learning_rate=1e-12)
    trainer.train()
    total, tokens = 0.0, 0
    trainer.model.eval()
    for sample in data.samples:
        loss = trainer.model(sample[None, :-1], sample[None, 1:], reduction="sum")[1]
        total, tokens = total + loss.item(), tokens + len(sample) - 1
    assert journal_of(trainer)[-1]["val_loss"] == pytest.approx(total / tokens, rel=1e-6)


def test_throughput_is_of_this_process(make_trainer: Make) -> None:
    make_trainer(max_steps=6).train()
    resumed = make_trainer(max_steps=8, resume_from_checkpoint=True)
    resumed.train()
    assert resumed._reporter.watch.steps == 2
    rates = resumed.get_throughput()
    # An epoch of 21 samples is six steps, so both of these have 4 samples of 16 targets.
    assert rates["tokens_per_second"] / rates["steps_per_second"] == pytest.approx(64)


def test_the_best_checkpoint_has_the_smallest_validation_loss(
    make_trainer: Make, fixed_dataset: Any
) -> None:
    recorder = Recorder()
    trainer = make_trainer(
        val=fixed_dataset(size=5),
        callbacks=[recorder],
        save_steps=1,
        eval_steps=2,
        max_checkpoints_to_keep=2,
    )
    trainer.train()
    measured = {
        line["step"]: line["val_loss"] for line in journal_of(trainer) if "val_loss" in line
    }
    best = min(measured, key=lambda step: measured[step])
    kept = trainer.manager.list_checkpoints()
    assert [entry["step"] for entry in kept if entry["is_best"]] == [best]
    assert {entry["step"] for entry in kept} == {best, 7 if best == 8 else 8}
    smallest = [
        step
        for step, value in measured.items()
        if value <= min(other for s, other in measured.items() if s <= step)
    ]
    assert [info.step for info in recorder.infos if info.is_best] == smallest


def test_a_stop_saves_and_says_that_steps_remain(make_trainer: Make) -> None:
    recorder = Recorder()
    trainer = make_trainer(callbacks=[recorder])
    trainer.callbacks.append(_StopAt(trainer, 3))
    trainer.train()
    assert (trainer.stopped, trainer.step) == (True, 3)
    assert [info.step for info in recorder.infos] == [3]
    trainer.train()  # the same trainer goes on where it stood
    assert (trainer.stopped, trainer.step) == (False, 8)
    assert [line["step"] for line in journal_of(trainer)] == list(range(1, 9))


class _StopAt:
    def __init__(self, trainer: Trainer, step: int) -> None:
        self.trainer, self.step = trainer, step

    def on_step_end(self, step: int, metrics: Any) -> None:
        if step == self.step:
            self.trainer.request_stop()


def test_on_metrics_tells_each_line_of_the_journal_once(make_trainer: Make) -> None:
    class History:
        def __init__(self) -> None:
            self.lines: list[dict[str, Any]] = []

        def on_metrics(self, step: int, metrics: dict[str, float]) -> None:
            self.lines.append({"step": step, **metrics})

    history = History()
    trainer = make_trainer(logging_steps=2, eval_steps=3, max_steps=6, callbacks=[history])
    trainer.train()
    assert history.lines == journal_of(trainer)


def test_an_exception_of_a_callback_ends_the_run(make_trainer: Make) -> None:
    class FencedError:
        def on_checkpoint(self, info: CheckpointInfo) -> None:
            raise PermissionError("a newer attempt owns this job")

    trainer = make_trainer(save_steps=2, callbacks=[FencedError()])
    with pytest.raises(PermissionError, match="a newer attempt owns this job"):
        trainer.train()


def test_a_save_that_fails_ends_the_run(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorder = Recorder()
    trainer = make_trainer(save_steps=2, callbacks=[recorder])

    class Obstacle:
        def on_step_end(self, step: int, metrics: Any) -> None:
            if step == 3:
                (tmp_path / "run" / ".checkpoint_step_4.pt.tmp").mkdir()

    trainer.callbacks.append(Obstacle())
    with pytest.raises(CheckpointError, match=r"checkpoint_step_4\.pt could not be written \(Is a"):
        trainer.train()
    assert [info.step for info in recorder.infos] == [2]
    assert [entry["step"] for entry in trainer.manager.list_checkpoints()] == [2]


def test_config_yaml_is_the_run_s_configuration(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(max_steps=1)
    trainer.train()
    assert TrainingConfig.from_yaml(tmp_path / "run" / "config.yaml") == trainer.config


def test_the_log_says_what_the_model_is_and_how_long_the_run_will_take(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make_trainer(max_steps=21, logging_steps=21).train()
    assert caplog.text.count("the model has 27,") == 1
    assert caplog.text.count(" until the run ends") == 1
    assert re.search(r"step 20: about \d+:\d\d:\d\d until the run ends", caplog.text)


def test_the_last_step_says_nothing_of_the_time_that_is_left(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make_trainer(max_steps=20, logging_steps=20).train()
    assert "the model has 27," in caplog.text
    assert "until the run ends" not in caplog.text


def test_a_folder_that_cannot_be_written_is_named(make_trainer: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        TrainingError, match=r"`checkpoint_dir` is .* cannot be written \(Not a dir"
    ):
        make_trainer(checkpoint_dir=str(tmp_path / "file" / "run")).train()


def test_a_journal_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 2, "lo')
    journal = StepJournal(path)
    journal.open(resume_step=2)
    journal.write(3, {"loss": 0.5, "perplexity": float("inf")})
    journal.close()
    assert path.read_text() == (
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "loss": 0.5, '
        '"perplexity": null}\n'
    )


def test_nobody_listening_costs_no_call() -> None:
    assert CallbackList([object()]).bind("on_log") is CallbackList().bind("on_step_end")


# -- Weights & Biases ------------------------------------------------------------------------


def test_wandb_offline_keeps_its_run_id_over_a_resume(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = {"wandb_project": "test", "wandb_mode": "offline"}
    make_trainer(max_steps=2, **settings).train()
    first = torch.load(tmp_path / "run" / "checkpoint_step_2.pt", weights_only=True)
    make_trainer(max_steps=4, resume_from_checkpoint=True, **settings).train()
    second = torch.load(tmp_path / "run" / "checkpoint_step_4.pt", weights_only=True)
    assert first["tracker_run_id"] == second["tracker_run_id"]
    assert first["tracker_run_id"]
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert runs
    assert all(name.endswith(first["tracker_run_id"]) for name in runs)


def test_a_failing_tracker_warns_once_and_training_goes_on(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Run:
        id = "run-1"

        def define_metric(self, *args: Any, **kwargs: Any) -> None:
            pass

        def log(self, values: dict[str, float]) -> None:
            raise ConnectionError("the network is away")

    class Package:
        __spec__ = ModuleSpec("wandb", None)

        @staticmethod
        def init(**kwargs: Any) -> Run:
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Package)
    trainer = make_trainer(wandb_project="test")
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.step == 8
    assert caplog.text.count("Weights & Biases is off for the rest of this run") == 1
    assert "the network is away" in caplog.text
