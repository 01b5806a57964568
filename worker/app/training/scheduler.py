"""Learning-rate schedules: pure functions of the step, and the small object that applies them.

A schedule's whole state is the step, so it can be recomputed for a longer run: resuming with
another `max_steps` needs nothing but the new number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from app.training.config import TrainingConfig

_STATE_VERSION = 1


class Scheduler:
    """Linear warm-up, then what the subclass's `decay` says; sets the rate of every group.

    `factor(step)` multiplies each group's peak rate, where `step` counts finished steps: the
    first step trains at `factor(0)`. Warm-up goes (1, 2, ...) / (warmup_steps + 1), so that no
    step is wasted at a rate of 0 and `factor(warmup_steps)` is 1.

    Args:
        optimizer: each group's present `lr` is taken as its peak.
        warmup_steps: steps below the peak, >= 0.
        total_steps: steps of the whole run; at its end the decay is complete, and stays.
        min_lr_ratio: where the decay ends, as a fraction of the peak, in [0, 1].
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int = 0,
        total_steps: int | None = None,
        min_lr_ratio: float = 0.0,
    ) -> None:
        _require(warmup_steps >= 0, "warmup_steps", warmup_steps, "at least 0", "try 0")
        _require(0 <= min_lr_ratio <= 1, "min_lr_ratio", min_lr_ratio, "between 0 and 1", "try 0.1")
        if total_steps is not None:
            _require(total_steps >= 1, "total_steps", total_steps, "at least 1", "try max_steps")
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.min_lr_ratio = min_lr_ratio
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.last_step = 0
        self._apply()

    def factor(self, step: int) -> float:
        """Return what the peak rate is multiplied by after `step` finished steps."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return self.decay(self.progress(step))

    def progress(self, step: int) -> float:
        """Return how much of the decay is done after `step` finished steps, in [0, 1]."""
        if self.total_steps is None:
            return 0.0
        remaining = max(self.total_steps - self.warmup_steps, 1)
        return min((step - self.warmup_steps) / remaining, 1.0)

    def decay(self, progress: float) -> float:
        """Return the factor at `progress` in [0, 1] of the decay."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one finished step and set the rates for the next."""
        self.last_step += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the rates now set, one for each parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the step, and the version of this format."""
        return {"version": _STATE_VERSION, "step": self.last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the recorded step, on this schedule. Refuses what it does not know."""
        if set(state) != {"version", "step"} or state["version"] != _STATE_VERSION:
            raise ValueError(
                f"the scheduler state is {dict(state)!r}; it must hold `step` and version "
                f"{_STATE_VERSION}; load it with the release that wrote it"
            )
        self.last_step = int(state["step"])
        self._apply()

    def _apply(self) -> None:
        factor = self.factor(self.last_step)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor


class CosineSchedulerWithWarmup(Scheduler):
    """Half a cosine from the peak to `min_lr_ratio` of it (Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        min_lr_ratio: float = 0.1,
    ) -> None:
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio)

    def decay(self, progress: float) -> float:
        half_cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.min_lr_ratio + (1.0 - self.min_lr_ratio) * half_cosine


class LinearSchedulerWithWarmup(Scheduler):
    """A straight line from the peak to `min_lr_ratio` of it."""

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        min_lr_ratio: float = 0.0,
    ) -> None:
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio)

    def decay(self, progress: float) -> float:
        return 1.0 - (1.0 - self.min_lr_ratio) * progress


class WSDScheduler(LinearSchedulerWithWarmup):
    """Warm-up, stable, decay: the peak, and at the end a straight line to `min_lr_ratio` of it.

    Until the cooldown begins the rate does not depend on the length of the run: from a checkpoint
    of before it a longer run goes on, bitwise as if it had been that long from the start (Hu et al.
    2024, MiniCPM; Hägele et al. 2024).

    Args:
        cooldown_steps: steps of the fall, >= 0; they are the last of `total_steps`. None: a fifth
            of `total_steps`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        min_lr_ratio: float = 0.0,
        cooldown_steps: int | None = None,
    ) -> None:
        self.cooldown_steps = total_steps // 5 if cooldown_steps is None else cooldown_steps
        rule = f"between 0 and total_steps={total_steps}"
        holds = 0 <= self.cooldown_steps <= total_steps
        _require(holds, "cooldown_steps", cooldown_steps, rule, "try a fifth of it")
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio)

    def progress(self, step: int) -> float:
        assert self.total_steps is not None
        left = max(self.total_steps - step, 0)
        return 0.0 if left >= self.cooldown_steps else 1.0 - left / self.cooldown_steps


class ConstantSchedulerWithWarmup(Scheduler):
    """The peak for ever; `total_steps` and `min_lr_ratio` are accepted and have no effect."""

    def decay(self, progress: float) -> float:
        return 1.0


_DECAYING: dict[str, type[CosineSchedulerWithWarmup | LinearSchedulerWithWarmup]] = {
    "cosine": CosineSchedulerWithWarmup,
    "linear": LinearSchedulerWithWarmup,
    "wsd": WSDScheduler,
}


def get_scheduler(
    scheduler_type: str,
    optimizer: Optimizer,
    warmup_steps: int,
    total_steps: int | None = None,
    **kwargs: Any,
) -> Scheduler:
    """Build a schedule by name: "cosine", "linear", "wsd" or "constant".

    `min_lr_ratio` may be given as a keyword; left out it is 0.1 for cosine and 0 for the others.
    "wsd" also takes `cooldown_steps`.

    Raises:
        ValueError: The name is unknown, or `total_steps` is missing and the decay needs it.
    """
    if scheduler_type == "constant":
        return ConstantSchedulerWithWarmup(optimizer, warmup_steps, total_steps, **kwargs)
    if scheduler_type not in _DECAYING:
        raise ValueError(
            f"`scheduler_type` is {scheduler_type!r}; it must be cosine, linear, wsd or constant; "
            "try cosine"
        )
    if total_steps is None:
        raise ValueError(
            f"`total_steps` is None; a {scheduler_type} schedule must know its end; "
            "give the run's max_steps"
        )
    return _DECAYING[scheduler_type](optimizer, warmup_steps, total_steps, **kwargs)


def build_scheduler(optimizer: Optimizer, config: TrainingConfig) -> Scheduler:
    """Return the schedule that a valid configuration describes."""
    options: dict[str, Any] = {"min_lr_ratio": config.min_lr_ratio}
    if config.scheduler_type == "wsd":
        options["cooldown_steps"] = config.cooldown_steps
    return get_scheduler(
        config.scheduler_type, optimizer, config.warmup_steps, config.max_steps, **options
    )


def _require(holds: bool, name: str, value: object, rule: str, remedy: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` is {value!r}; it must be {rule}; {remedy}")
