"""Training time to one validation loss: the modern recipe against the GPT-2-style one.

Both are examples of this project on the same text with the same number of parameters' shape
(4 layers, 4 heads, width 128, context 64, batch 12). The GPT-2-style recipe trains its 2,000
steps; the modern one has to reach the same loss, over the whole validation set, in a third of
the training time. Time spent on validation and saving counts for neither.

Needs data/tinyshakespeare.txt, which is not part of the project (`examples/shakespeare_char.yaml`
says what it is), or another text named by TINYSHAKESPEARE=PATH; skips, and says so, without one.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, describe, interleave, medians

ROOT = Path(__file__).parent.parent
TEXT = Path(os.environ.get("TINYSHAKESPEARE", ROOT / "data/tinyshakespeare.txt"))


def run(device: str) -> list[Claim]:
    """Train both, five times in turn."""
    if not TEXT.exists():
        print(f"skipped: {TEXT} is missing; name the text with TINYSHAKESPEARE=PATH")
        return []
    losses: dict[str, list[float]] = {"gpt2": [], "modern": []}

    def rival(name: str, example: str) -> float:
        loss, seconds = train(example, TEXT, device)
        losses[name].append(loss)
        return seconds

    figures = interleave(
        {
            "gpt2": lambda: rival("gpt2", "shakespeare_char_gpt2.yaml"),
            "modern": lambda: rival("modern", "shakespeare_char.yaml"),
        }
    )
    median, loss = medians(figures), medians(losses)
    return [
        Claim("validation loss, modern / GPT-2 style", loss["modern"] / loss["gpt2"], 1.0, False,
              detail=describe(losses, "nats")),
        Claim("training time, modern / GPT-2 style", median["modern"] / median["gpt2"], 1 / 3,
              False, detail=describe(figures, "s")),
    ]  # fmt: skip


class FinalLoss:
    """Remembers the last validation loss."""

    def __init__(self) -> None:
        self.value = float("nan")

    def on_evaluate(self, step: int, metrics: dict[str, Any]) -> None:
        """Take the value that the trainer passes to this hook."""
        self.value = float(metrics["val_loss"])


def train(example: str, text: Path, device: str) -> tuple[float, float]:
    """Return the final validation loss and seconds of training of one example."""
    from app.training import Trainer, TrainingConfig
    from app.training.data import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig.from_yaml(ROOT / "examples" / example)
        config = replace(
            config, checkpoint_dir=folder, dataset_path=str(text), device=device,
            eval_steps=config.max_steps, save_steps=config.max_steps,
        )  # fmt: skip
        train_data, val_data = load_dataset(text, config)
        trainer = Trainer(config, train_dataset=train_data, val_dataset=val_data)
        final = FinalLoss()
        trainer.callbacks.append(final)
        trainer.train()
    return final.value, config.max_steps / trainer.get_throughput()["steps_per_second"]
