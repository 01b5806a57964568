"""Bits per byte at equal CPU seconds: a tokenizer trained on the text against bytes.

Both train the model of `examples/tiny.yaml`, the second with `tokenizer: bpe:4096` and rows for its
ids. The first trains its steps; the second as many as take the same CPU seconds, those in which its
tokenizer was trained included. What is compared is `val_bits_per_byte` over the whole validation
set; time spent on validation and saving counts for neither.

Needs the same text as `modern_recipe`; skips, and says so, without it.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.harness import Claim, describe, medians
from benchmarks.modern_recipe import ROOT, TEXT

STEPS = 600
SHORT_RUN = 30
IDS = 4096
ROUNDS = 3


def run(device: str) -> list[Claim]:
    """Train both, three times in turn, on a CPU: on a GPU, CPU seconds say nothing."""
    if not TEXT.exists():
        print(f"skipped: {TEXT} is missing; name the text with TINYSHAKESPEARE=PATH")
        return []
    torch.set_num_threads(1)  # threads that wait for each other would count, too
    found: dict[str, list[float]] = {"byte": [], "bpe": []}
    seconds: dict[str, list[float]] = {"byte": [], "bpe": []}
    for _ in range(ROUNDS):
        bits, budget, _ = train("byte", 256, STEPS)
        _, short, preparation = train(f"bpe:{IDS}", IDS, SHORT_RUN)
        steps = int((budget - preparation) / (short / SHORT_RUN))
        own_bits, spent, _ = train(f"bpe:{IDS}", IDS, steps)
        found["byte"].append(bits)
        found["bpe"].append(own_bits)
        seconds["byte"].append(budget)
        seconds["bpe"].append(spent + preparation)
    median, used = medians(found), medians(seconds)
    return [
        Claim("bits per byte, own tokenizer / bytes", median["bpe"] / median["byte"], 0.90, False,
              detail=describe(found, "bits")),
        Claim("CPU seconds of both", used["bpe"] / used["byte"], 1.05, False,
              detail=describe(seconds, "s")),
    ]  # fmt: skip


class Clock:
    """Counts the CPU seconds of steps, without validation and saving."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.bits = float("nan")
        self._begun = time.process_time()

    def on_train_start(self) -> None:
        """Take the value that the trainer passes to this hook."""
        self._begun = time.process_time()

    def on_evaluate_start(self, step: int) -> None:
        """Stop the clock: the one validation comes after the last step."""
        self.seconds = time.process_time() - self._begun

    def on_evaluate(self, step: int, metrics: dict[str, Any]) -> None:
        """Take the value that the trainer passes to this hook."""
        self.bits = float(metrics["val_bits_per_byte"])


def train(tokenizer: str, ids: int, steps: int) -> tuple[float, float, float]:
    """Return the final bits per byte, CPU seconds of the steps, and of making the data ready."""
    from app.training import Trainer, TrainingConfig
    from app.training.data import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRAINING_ENGINE_CACHE"] = folder  # the tokenizer is trained each time
        config = TrainingConfig.from_yaml(ROOT / "examples/tiny.yaml")
        config = replace(
            config, model_config=replace(config.model_config, vocab_size=ids), device="cpu",
            tokenizer=tokenizer, checkpoint_dir=f"{folder}/run", dataset_path=str(TEXT),
            max_steps=steps, warmup_steps=steps // 10, eval_steps=steps, save_steps=steps,
        )  # fmt: skip
        begun = time.process_time()
        train_data, val_data = load_dataset(TEXT, config)
        preparation = time.process_time() - begun
        clock = Clock()
        Trainer(config, train_data, val_data, callbacks=[clock]).train()
    return clock.bits, clock.seconds, preparation
