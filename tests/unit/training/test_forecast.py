"""When a run will end: evaluations and saves to come count, by the time that earlier ones took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.training import Trainer, TrainingConfig
from app.training.forecast import Forecast


class Clock:
    """Moves when it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_evaluations_and_saves_to_come_count(
    small_config: Callable[..., TrainingConfig],
) -> None:
    clock = Clock()
    config = small_config(max_steps=10, eval_steps=4, save_steps=5)
    forecast = Forecast(config, batches=(3, 20), clock=clock)
    forecast.start(0)
    assert forecast.seconds_left() is None
    clock.now += 30.0  # the first step compiles
    forecast.step_done(1)
    for step in (2, 3, 4):
        clock.now += 3.0
        forecast.step_done(step)
    # 6 steps; the evaluations of steps 4, 8 and 10, a batch being a forward pass; no save yet seen
    assert forecast.seconds_left() == pytest.approx(6 * 3 + (3 + 3 + 20) * 1)
    for left in (2, 1, 0):
        clock.now += 2.0
        forecast.batches_left(left)
    assert forecast.seconds_left() == pytest.approx(6 * 3 + (3 + 20) * 2)
    clock.now += 3.0
    forecast.step_done(5)
    clock.now += 1.5
    forecast.save_done()
    forecast.last_save = 7.0  # which the run did not wait for; at its end it will
    assert forecast.seconds_left() == pytest.approx(5 * 3 + (3 + 20) * 2 + 1.5 + 7.0)
    clock.now += 1.0  # within a step it counts down
    assert forecast.seconds_left() == pytest.approx(5 * 3 + (3 + 20) * 2 + 1.5 + 7.0 - 1.0)
    clock.now += 1000.0
    assert forecast.seconds_left() == 0.0


def test_a_last_step_leaves_its_evaluation_and_its_save(
    small_config: Callable[..., TrainingConfig],
) -> None:
    clock = Clock()
    forecast = Forecast(small_config(max_steps=2), batches=(3, 20), clock=clock)
    forecast.start(0)
    for step in (1, 2):
        clock.now += 3.0
        forecast.step_done(step)
    assert forecast.seconds_left() == pytest.approx(20.0)
    for done in range(1, 20):
        clock.now += 10.0
        forecast.batches_left(20 - done)
    assert forecast.seconds_left() == pytest.approx(10.0)


def test_without_validation_only_steps_count(
    small_config: Callable[..., TrainingConfig],
) -> None:
    clock = Clock()
    forecast = Forecast(small_config(max_steps=5), batches=(0, 0), clock=clock)
    forecast.start(2)
    clock.now += 3.0
    forecast.step_done(3)
    assert forecast.seconds_left() == pytest.approx(6.0)


def test_a_trainer_knows_its_eta_while_it_trains(
    make_trainer: Callable[..., Trainer], fixed_dataset: Any
) -> None:
    seen: list[float | None] = []

    class Asks:
        def on_train_start(self) -> None:
            seen.append(trainer.get_eta())

        def on_step_end(self, step: int, metrics: Any) -> None:
            seen.append(trainer.get_eta())

    trainer = make_trainer(val=fixed_dataset(8), max_steps=3, callbacks=[Asks()])
    trainer.train()
    assert seen[0] is None
    assert all(eta is not None and eta >= 0 for eta in seen[1:])
