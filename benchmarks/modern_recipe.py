"""Training time to one validation loss: modern recipes against the GPT-2-style one.

All are examples of this project, on the same text, tokenizer and context and with as many
parameters (4 layers, 4 heads, width 128, context 64). The GPT-2-style recipe trains its 2,000
steps; a modern one has to reach the same mean loss, over the whole validation set, in a fraction of
the training time. `shakespeare_char.yaml` is the fastest, `shakespeare_char_qwen3.yaml` the fastest
that Hugging Face can load. Each trains with ten seeds that no recipe was tuned on, in turn with the
others. Time spent on validation and saving counts for none. docs/recipes.md says what was tried.

Needs data/tinyshakespeare.txt, which is not part of the project (`examples/shakespeare_char.yaml`
says what it is), or another text named by TINYSHAKESPEARE=PATH; skips, and says so, without one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Claim, describe, interleave, medians
from benchmarks.significance import p_value, summary

ROOT = Path(__file__).parent.parent
TEXT = Path(os.environ.get("TINYSHAKESPEARE", ROOT / "data/tinyshakespeare.txt"))
FIRST_SEED = 101
SEEDS = 10
EXAMPLES = {
    "GPT-2 style": "shakespeare_char_gpt2.yaml",
    "modern": "shakespeare_char.yaml",
    "exportable": "shakespeare_char_qwen3.yaml",
}
MOST_TIME = {"modern": 0.12, "exportable": 0.25}
"""Of the GPT-2-style recipe's training time."""
_FEWEST_SEEDS = 2
"""A t-test needs the variance of each side."""


class Run(NamedTuple):
    """What one training comes to."""

    loss: float
    """On the whole validation set, in nats."""
    seconds: float


def run(device: str) -> list[Claim]:
    """Train each recipe with each seed, in turn, and print each result as it comes.

    Ctrl-C ends it early: the claims are then about the seeds that every recipe has trained with.
    """
    if not TEXT.exists():
        print(f"skipped: {TEXT} is missing; name the text with TINYSHAKESPEARE=PATH")
        return []
    runs: dict[str, list[Run]] = {name: [] for name in EXAMPLES}
    rivals = {name: partial(_train_next, name, runs[name], device) for name in EXAMPLES}
    with contextlib.suppress(KeyboardInterrupt):
        interleave(rivals, SEEDS)
    complete = min(map(len, runs.values()))
    if complete < SEEDS:
        print(f"interrupted: {complete} of {SEEDS} seeds are complete")
    if complete < _FEWEST_SEEDS:
        return []
    compared = {name: results[:complete] for name, results in runs.items()}
    return [claim for name in MOST_TIME for claim in _claims(name, compared)]


def _train_next(name: str, runs: list[Run], device: str) -> float:
    """Train a recipe with its next seed; return the seconds."""
    seed = FIRST_SEED + len(runs)
    runs.append(Run(*train(EXAMPLES[name], TEXT, device, seed=seed)))
    print(f"  {name}, seed {seed}: {runs[-1].loss:.4f} nats, {runs[-1].seconds:.1f} s", flush=True)
    return runs[-1].seconds


def _claims(name: str, runs: Mapping[str, Sequence[Run]]) -> list[Claim]:
    """What has to hold for one of the modern recipes."""
    pair = ("GPT-2 style", name)
    losses = {each: [run.loss for run in runs[each]] for each in pair}
    seconds = {each: [run.seconds for run in runs[each]] for each in pair}
    median = medians(seconds)
    described = ", ".join(f"{each} {summary(losses[each], 'nats')}" for each in pair)
    sizes = [_size(EXAMPLES[each]) for each in pair]
    return [
        Claim(f"{name}: p that its mean loss is above the GPT-2-style recipe's",
              p_value(losses[name], losses["GPT-2 style"]), 0.01, False, unit="",
              detail=described),
        Claim(f"{name}: training time / GPT-2 style", median[name] / median["GPT-2 style"],
              MOST_TIME[name], False, detail=describe(seconds, "s")),
        Claim(f"{name}: parameters outside embeddings / GPT-2 style", sizes[1] / sizes[0], 1.1,
              False, detail=f"{sizes[1]:,} and {sizes[0]:,}; an untied head counts"),
    ]  # fmt: skip


def _size(example: str) -> int:
    """Return the parameters of an example that are not rows looked up by tokens or positions."""
    from app.training import TrainingConfig

    parts = TrainingConfig.from_yaml(ROOT / "examples" / example).model_config.parameters_by_part()
    tables = {"embedding", "ngrams", "positions"}
    return sum(count for part, count in parts.items() if part not in tables)


class FinalLoss:
    """Remembers the last validation loss."""

    def __init__(self) -> None:
        self.value = float("nan")

    def on_evaluate(self, step: int, metrics: dict[str, Any]) -> None:
        """Take the value that the trainer passes to this hook."""
        self.value = float(metrics["val_loss"])


def train(example: str, text: Path, device: str, **changes: Any) -> tuple[float, float]:
    """Return the final validation loss and seconds of training of one example.

    `changes` are fields of its configuration with other values.
    """
    from app.training import Trainer, TrainingConfig
    from app.training.data import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig.from_yaml(ROOT / "examples" / example)
        config = replace(
            config, checkpoint_dir=folder, dataset_path=str(text), device=device,
            eval_steps=config.max_steps, save_steps=config.max_steps, **changes,
        )  # fmt: skip
        train_data, val_data = load_dataset(text, config)
        trainer = Trainer(config, train_dataset=train_data, val_dataset=val_data)
        final = FinalLoss()
        trainer.callbacks.append(final)
        trainer.train()
    return final.value, config.max_steps / trainer.get_throughput()["steps_per_second"]
