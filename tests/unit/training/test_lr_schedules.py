"""Schedules are pure functions of the step, and remember nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from app.training.scheduler import CosineSchedulerWithWarmup, Scheduler, get_scheduler


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler: Scheduler, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        scheduler.step()
    return seen


def test_cosine_warms_up_peaks_halves_and_ends() -> None:
    scheduler = get_scheduler("cosine", optimizer(2.0), 4, 24, min_lr_ratio=0.1)
    seen = rates(scheduler, 30)
    assert seen[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert seen[14] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert seen[9] == pytest.approx(2.0 * (0.1 + 0.45 * (1 + math.cos(math.pi / 4))))
    assert seen[24:] == pytest.approx([0.2] * 6)


def test_linear_falls_in_a_line() -> None:
    scheduler = get_scheduler("linear", optimizer(), 0, 10)
    assert rates(scheduler, 12) == pytest.approx([1 - i / 10 for i in range(10)] + [0.0, 0.0])


def test_wsd_stays_at_its_peak_and_cools_down_at_the_end() -> None:
    scheduler = get_scheduler("wsd", optimizer(), 2, 10, min_lr_ratio=0.2, cooldown_steps=4)
    seen = [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert rates(scheduler, 12) == pytest.approx(seen)
    fifth = get_scheduler("wsd", optimizer(), 0, 10)
    assert rates(fifth, 11) == pytest.approx([1] * 9 + [0.5, 0.0])
    never = get_scheduler("wsd", optimizer(), 0, 3, cooldown_steps=0)
    assert rates(never, 4) == [1.0] * 4


def test_before_its_cooldown_wsd_does_not_depend_on_the_length_of_the_run() -> None:
    short = rates(get_scheduler("wsd", optimizer(), 3, 20, cooldown_steps=5), 15)
    assert short == rates(get_scheduler("wsd", optimizer(), 3, 400, cooldown_steps=5), 15)


def test_constant_stays_and_needs_no_end() -> None:
    scheduler = get_scheduler("constant", optimizer(), warmup_steps=1)
    assert rates(scheduler, 4) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_the_state_is_the_step_and_fits_a_longer_schedule() -> None:
    short = CosineSchedulerWithWarmup(optimizer(), 2, 10)
    rates(short, 6)
    assert short.state_dict() == {"version": 1, "step": 6}
    longer = CosineSchedulerWithWarmup(optimizer(), 2, 20)
    longer.load_state_dict(short.state_dict())
    assert longer.get_last_lr()[0] == longer.factor(6)


def test_groups_keep_their_proportion() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.25)]
    scheduler = get_scheduler("linear", torch.optim.SGD(groups), 0, 4)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.75, 0.1875]


def test_an_unknown_state_is_refused() -> None:
    scheduler = get_scheduler("constant", optimizer(), 0)
    with pytest.raises(ValueError, match="must hold `step` and version 1"):
        scheduler.load_state_dict({"version": 2, "step": 1})
    with pytest.raises(ValueError, match="last_epoch"):
        scheduler.load_state_dict({"version": 1, "step": 1, "last_epoch": 3})


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="`scheduler_type` is 'step'; it must be cosine"):
        get_scheduler("step", optimizer(), 0, 10)
    with pytest.raises(ValueError, match="`total_steps` is None; a cosine schedule must know"):
        get_scheduler("cosine", optimizer(), 0)
    with pytest.raises(ValueError, match="`cooldown_steps` is 11; it must be between 0 and total_"):
        get_scheduler("wsd", optimizer(), 0, 10, cooldown_steps=11)
    with pytest.raises(ValueError, match="`warmup_steps` is -1; it must be at least 0"):
        get_scheduler("constant", optimizer(), -1)


def test_warmup_as_long_as_the_run_divides_nothing_by_zero() -> None:
    scheduler = get_scheduler("cosine", optimizer(), 5, 5)
    assert rates(scheduler, 6) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
