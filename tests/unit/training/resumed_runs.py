"""Runs that stop and are resumed, and how they are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.training import Trainer

STEPS = 8
MEASURED = ("loss", "lr", "grad_norm", "tokens_seen", "val_loss")
Make = Callable[..., Trainer]


def state_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Weights, their averages, and what the optimizer keeps of every parameter."""
    moments = {
        f"{i}.{name}": value
        for i, entry in trainer.optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    averages = trainer._average.state_dict() if trainer._average else {}
    return {
        **trainer.model.state_dict(),
        **moments,
        **{f"average of {name}": value for name, value in averages.items()},
    }


def assert_same(first: Trainer, second: Trainer) -> None:
    expected, found = state_of(first), state_of(second)
    assert expected.keys() == found.keys()
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert different == []


def history(folder: str | Path) -> list[tuple[Any, ...]]:
    """What the journal says of each step, times left out."""
    text = (Path(folder) / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["step"], *(line.get(name) for name in MEASURED)) for line in lines]


class StopAt:
    """Asks for a stop after a step, as a worker does."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.trainer: Trainer | None = None

    def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
        if step == self.step and self.trainer is not None:
            self.trainer.request_stop()


def run_in_parts(make: Make, parts: list[int], folder: Path, **changes: Any) -> Trainer:
    """Stop after each of `parts`, throw the trainer away, and go on with a new one."""
    for index, stop in enumerate([*parts, None]):
        torch.rand(index + 1)  # what the process drew in between must not matter
        np.random.rand(3)
        callback = StopAt(stop or -1)
        trainer = make(
            callbacks=[callback],
            checkpoint_dir=str(folder),
            resume_from_checkpoint=index > 0,
            **changes,
        )
        callback.trainer = trainer
        trainer.train()
        assert trainer.stopped == (stop is not None)
        assert trainer.step == (stop or STEPS)
    return trainer
