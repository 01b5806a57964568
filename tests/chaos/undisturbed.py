"""What a job has to come to, whatever happened on its way, and how to compare with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from running_stack import wait_until

from training_engine import Job, TrainingEngine

TEXT = "".join(f"{n} is followed by {n + 1}, and {n + 1} by {n + 2}.\n" for n in range(300))
CONFIG: dict[str, Any] = {
    "model_config": {
        "vocab_size": 256,
        "hidden_size": 32,
        "num_layers": 1,
        "num_heads": 2,
        "max_position_embeddings": 2048,
        "dropout_rate": 0.1,
    },
    "sequence_length": 32,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.003,
    "warmup_steps": 20,
    "max_steps": 240,
    "logging_steps": 1,
    "eval_steps": 90,
    "save_steps": 20,
    "max_checkpoints_to_keep": 3,
    "val_fraction": 0.1,
}
"""Dropout, accumulation, validation and several epochs: all that has state takes part.

A step costs little; the many rows of positions make checkpoints of 1 MB.
"""

PACE_SECONDS = 0.015
"""Added to each step of a disturbed run, which then lasts on any machine until it is disturbed."""

NEVER_GIVE_UP = {"max_retries": 1000}

Row = tuple[int, float | None, float | None, float | None, float | None]


@dataclass(frozen=True)
class Result:
    """A finished run: its weights and, step by step, all of its history that is not a time."""

    weights: dict[str, torch.Tensor]
    history: list[Row]


def write_text(folder: Path) -> str:
    """The data of all runs; returns its path."""
    path = folder / "text.txt"
    path.write_text(TEXT)
    return str(path)


def result_of(engine: TrainingEngine, job: Job, folder: Path) -> Result:
    """Waits for the job's success and reads what it came to, through the service."""
    done = job.wait(timeout=240)
    assert done.status == "succeeded", (done.status, done.error)
    last = max(done.checkpoints(), key=lambda checkpoint: checkpoint.step)
    path = engine.checkpoints.download(last.checkpoint_id, folder / f"{job.job_id}.pt")
    weights = torch.load(path, weights_only=True)["model_state_dict"]
    return Result(weights, history_of(engine, job))


def history_of(engine: TrainingEngine, job: Job) -> list[Row]:
    """The job's whole history."""
    return [
        (point.step, point.loss, point.lr, point.grad_norm, point.val_loss)
        for point in engine.metrics.history(job.job_id)
    ]


def assert_same(result: Result, expected: Result) -> None:
    """Every tensor bitwise equal, and every logged step once, with the same values."""
    assert difference(result, expected) == ""


def difference(result: Result, expected: Result) -> str:
    """The first thing in which a run differs from the undisturbed one; empty where none does."""
    steps, wanted_steps = ([row[0] for row in one.history] for one in (result, expected))
    if steps != wanted_steps:
        return f"steps {steps} are logged, not {wanted_steps}"
    for row, wanted in zip(result.history, expected.history, strict=True):
        if row != wanted:
            return f"step, loss, lr, gradient norm and validation loss are {row}, not {wanted}"
    if result.weights.keys() != expected.weights.keys():
        return f"the weights are {sorted(result.weights)}, not {sorted(expected.weights)}"
    names = [n for n, w in expected.weights.items() if not torch.equal(result.weights[n], w)]
    return f"weights differ: {names}" if names else ""


def wait_for_step(job: Job, step: int, timeout: float = 120) -> Job:
    """Returns the job once it has executed `step`, or has ended."""

    def reached() -> Job | None:
        now = job.refresh()
        ended = now.status not in ("queued", "running", "stopping")
        return now if now.current_step >= step or ended else None

    return wait_until(reached, f"step {step}", timeout)
