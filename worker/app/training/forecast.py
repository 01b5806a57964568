"""When a run will end: from the time that its steps, validation batches and saves have taken.

A rate of steps alone would promise seconds where a validation of minutes is still to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

from app.training.config import TrainingConfig

_FORWARD_SHARE = 1 / 3
"""Of a micro-batch's training time: a validation batch has the forward pass alone."""
_REMEMBERED = 50
"""A mean forgets what is much older than so many intervals."""


class Work(Enum):
    """What a run spends its time on."""

    STEP = "an optimizer step"
    VALIDATION_BATCH = "a batch of an evaluation"
    SAVE = "what a save holds the training up"


class Forecast:
    """Measures intervals between calls of `done`, and adds up those still to come.

    Args:
        batches: batches of an evaluation, and of the last one; 0 without validation data.
    """

    def __init__(
        self,
        config: TrainingConfig,
        batches: tuple[int, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._batches, self._last_batches = batches
        self._clock = clock
        self._mark = clock()
        self._means: dict[Work, float] = {}
        self._counts = dict.fromkeys(Work, 0)
        self._step = 0
        self._pending_batches = 0
        self._is_saved = True
        self.last_save: float | None = None
        """Seconds that writing the newest checkpoint took: the run waits for its last one."""

    def start(self, step: int) -> None:
        """Time counts from now; the run has done `step` steps."""
        self._mark, self._step = self._clock(), step
        self._pending_batches, self._is_saved = 0, True

    def step_done(self, step: int) -> None:
        """Note that an optimizer step is done; its evaluation and its save, if due, come next."""
        self._took(Work.STEP)
        self._step = step
        self._pending_batches = self._batches_at(step)
        self._is_saved = not self._saves_at(step)

    @property
    def steps_measured(self) -> int:
        """Optimizer steps that the estimate is made of."""
        return self._counts[Work.STEP]

    def batches_left(self, count: int) -> None:
        """Note that a batch of an evaluation is done; `count` more are to come."""
        self._took(Work.VALIDATION_BATCH)
        self._pending_batches = count

    def save_done(self) -> None:
        """Note that the state of this step is copied, and the training goes on."""
        self._took(Work.SAVE)
        self._is_saved = True

    def _took(self, work: Work) -> None:
        now = self._clock()
        seconds, self._mark = now - self._mark, now
        self._counts[work] += 1
        mean = self._means.get(work, seconds)
        if self._counts[work] == 2:
            mean = seconds  # the first of a kind compiles and warms up
        self._means[work] = mean + (seconds - mean) / min(self._counts[work], _REMEMBERED)

    def seconds_left(self) -> float | None:
        """Until `train` returns, as far as can be known; None before the first step."""
        step = self._means.get(Work.STEP)
        if step is None:
            return None
        config = self._config
        batch = step / config.gradient_accumulation_steps * _FORWARD_SHARE
        batch = self._means.get(Work.VALIDATION_BATCH, batch)
        save = self._means.get(Work.SAVE, 0.0)
        left = (config.max_steps - self._step) * step
        left += (self._pending_batches + self._batches_after(self._step)) * batch
        left += (not self._is_saved) * save + self._saves_after(self._step) * save
        left += self.last_save or 0.0
        return max(0.0, left - (self._clock() - self._mark))

    def _batches_at(self, step: int) -> int:
        if step == self._config.max_steps:
            return self._last_batches
        return 0 if step % self._config.eval_steps else self._batches

    def _batches_after(self, step: int) -> int:
        last = self._config.max_steps
        if step >= last:
            return 0
        regular = (last - 1) // self._config.eval_steps - step // self._config.eval_steps
        return regular * self._batches + self._last_batches

    def _saves_at(self, step: int) -> bool:
        return step == self._config.max_steps or step % self._config.save_steps == 0

    def _saves_after(self, step: int) -> int:
        last, every = self._config.max_steps, self._config.save_steps
        return 0 if step >= last else (last - 1) // every - step // every + 1
