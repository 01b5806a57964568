"""A run ends once its metric no longer improves, at the same step whatever stopped it before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from resumed_runs import StopAt, assert_same, history

from app.training import Trainer
from app.training.config import ConfigError, EarlyStoppingConfig
from app.training.early_stopping import EarlyStopping

Make = Callable[..., Trainer]
NEVER_BETTER: dict[str, Any] = {
    "eval_steps": 2,
    "early_stopping": EarlyStoppingConfig(patience=2, min_delta=1e9),
}
"""Measured at steps 2, 4 and 6, of which the first is the best."""


def test_only_a_fall_beyond_min_delta_is_an_improvement() -> None:
    stopping = EarlyStopping(EarlyStoppingConfig("val_loss", patience=2, min_delta=0.1))
    reasons = []
    for step, value in enumerate([2.0, 1.95, None, 1.85, 1.8, 1.76], 1):
        stopping.observe(step, value)
        reasons.append(stopping.reason)
    assert reasons[:5] == [None] * 5
    assert reasons[5] == (
        "ended early: val_loss was 1.85 at step 4 and did not improve in 2 measurements since"
    )


@pytest.fixture
def make(make_trainer: Make, drawing_dataset: Any) -> Make:
    """Trainers with validation data."""

    def trainer(**changes: Any) -> Trainer:
        return make_trainer(val=drawing_dataset, **changes)

    return trainer


def test_a_run_that_does_not_improve_ends_and_stays_ended(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make(**NEVER_BETTER)
    trainer.train()
    assert (trainer.step, trainer.stopped) == (6, False)
    again = make(resume_from_checkpoint=True, **NEVER_BETTER)
    with caplog.at_level(logging.WARNING):
        again.train()
    assert again.step == 6
    assert f"nothing to do: the run has {trainer.ended_early}" in caplog.text
    longer = NEVER_BETTER | {"early_stopping": EarlyStoppingConfig(patience=3, min_delta=1e9)}
    more = make(resume_from_checkpoint=True, **longer)
    more.train()
    assert more.step == 8


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_resumed_run_ends_where_an_undisturbed_one_does(
    make: Make, tmp_path: Path, stop: int
) -> None:
    straight = make(checkpoint_dir=str(tmp_path / "straight"), **NEVER_BETTER)
    straight.train()
    callback = StopAt(stop)
    first = make(callbacks=[callback], checkpoint_dir=str(tmp_path / "b"), **NEVER_BETTER)
    callback.trainer = first
    first.train()
    second = make(checkpoint_dir=str(tmp_path / "b"), resume_from_checkpoint=True, **NEVER_BETTER)
    second.train()
    assert (first.step, second.step) == (stop, 6)
    assert_same(straight, second)
    assert history(tmp_path / "straight") == history(tmp_path / "b")


def test_a_validation_that_a_stop_cut_short_counts_once(make: Make) -> None:
    """The stop comes within the validation of step 6, which would end the run."""

    class StopWithin:
        trainer: Trainer

        def on_evaluate_start(self, step: int) -> None:
            if step == 6:
                self.trainer.request_stop()

    callback = StopWithin()
    callback.trainer = trainer = make(callbacks=[callback], **NEVER_BETTER)
    trainer.train()
    assert (trainer.step, trainer.stopped, trainer.ended_early) == (6, True, None)
    resumed = make(resume_from_checkpoint=True, **NEVER_BETTER)
    resumed.train()
    assert (resumed.step, resumed.stopped) == (6, False)
    assert resumed.ended_early is not None


def test_a_metric_of_validation_needs_validation_data(make_trainer: Make) -> None:
    with pytest.raises(ConfigError, match="is 'val_loss' and there is no validation data; name"):
        make_trainer(**NEVER_BETTER)
