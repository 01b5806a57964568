"""Saves that fail: the run ends, unless a listener takes the failure on itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training.checkpoint import CheckpointError
from app.training.checkpoint_file import CheckpointInfo
from app.training.trainer import Trainer

Make = Callable[..., Trainer]


class Patient:
    """Takes failures on itself: an obstacle makes the saves of some steps fail; it is removed
    once the last save was asked about often enough."""

    def __init__(self, folder: Path, steps: tuple[int, ...], last_tries: int = 0) -> None:
        self._folder, self._last_tries = folder, last_tries
        self._obstacles = {step: folder / f".checkpoint_step_{step}.pt.tmp" for step in steps}
        self.asked: list[tuple[int, bool]] = []
        self.saved: list[int] = []

    def on_train_start(self) -> None:
        for obstacle in self._obstacles.values():
            obstacle.mkdir()

    def on_save_failed(self, step: int, error: CheckpointError, last: bool) -> bool:
        assert f"checkpoint_step_{step}.pt could not be written" in str(error)
        self.asked.append((step, last))
        if last:
            self._last_tries -= 1
            if self._last_tries == 0:
                self._obstacles[step].rmdir()
        return not last or self._last_tries >= 0

    def on_checkpoint(self, info: CheckpointInfo) -> None:
        self.saved.append(info.step)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_a_run_goes_on_without_a_save_that_a_listener_takes_on_itself(
    make_trainer: Make, tmp_path: Path
) -> None:
    expected = make_trainer(save_steps=2, checkpoint_dir=str(tmp_path / "undisturbed"))
    expected.train()
    patient = Patient(tmp_path / "run", (4,))
    trainer = make_trainer(save_steps=2, callbacks=[patient])
    trainer.train()
    assert patient.asked == [(4, False)]
    assert patient.saved == [2, 6, 8]
    assert [info.step for info in trainer.manager.infos()] == [2, 6, 8]
    assert all(torch.equal(v, weights(expected)[k]) for k, v in weights(trainer).items())


@pytest.mark.parametrize("save_steps", [2, 1000])
def test_the_last_save_is_tried_again_and_is_of_the_last_step(
    make_trainer: Make, tmp_path: Path, save_steps: int
) -> None:
    patient = Patient(tmp_path / "run", (8,), last_tries=3)
    trainer = make_trainer(save_steps=save_steps, callbacks=[patient])
    trainer.train()
    assert patient.asked == [(8, True)] * 3
    saved = trainer.manager.load_state(trainer.manager.path_of(8))
    assert saved["step"] == 8
    now: dict[str, Any] = weights(trainer)
    assert all(torch.equal(v, now[k]) for k, v in saved["model_state_dict"].items())


def test_a_last_save_that_the_listener_gives_up_ends_the_run(
    make_trainer: Make, tmp_path: Path
) -> None:
    class Impatient(Patient):
        def on_save_failed(self, step: int, error: CheckpointError, last: bool) -> bool:
            super().on_save_failed(step, error, last)
            return False

    impatient = Impatient(tmp_path / "run", (8,))
    trainer = make_trainer(save_steps=2, callbacks=[impatient])
    with pytest.raises(CheckpointError, match=r"checkpoint_step_8\.pt could not be written"):
        trainer.train()
    assert impatient.asked == [(8, True)]
    assert [info.step for info in trainer.manager.infos()] == [2, 4, 6]


def test_a_failed_save_is_not_the_best(make_trainer: Make, tmp_path: Path) -> None:
    patient = Patient(tmp_path / "run", (4,))
    trainer = make_trainer(save_steps=2, best_metric="loss", callbacks=[patient])
    measured = iter([5.0, 1.0, 4.0, 3.0])  # the best of all is the one that is lost
    trainer._reporter.metric_at = lambda *_: ("loss", next(measured))  # type: ignore[method-assign]
    trainer.train()
    best = [info.step for info in trainer.manager.infos() if info.is_best]
    assert best == [8]
    assert trainer.manager.load_state(trainer.manager.path_of(8))["best"] == ["loss", 3.0]
