"""Runs in several processes, for tests: `python distributed_runs.py FOLDER SCENARIOS`.

One process imports everything and forks the runs one after the other, which saves most of the
time. SCENARIOS is JSON: a list of objects with a name, a number of processes, changes of the
configuration, and what is to go wrong. What became of each stands in FOLDER/{name}.{rank}.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.training import Trainer, TrainingConfig
from app.training.batches import IGNORED, LabelledRows
from app.training.character_tokenizers import CharTokenizer
from app.training.distributed_launch import ProcessFailedError, launch
from app.transformer import TransformerConfig

CONTEXT = 16
MODEL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": CONTEXT,
}
RUN: dict[str, Any] = {
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_steps": 8,
    "warmup_steps": 2,
    "logging_steps": 1,
    "save_steps": 1000,
    "eval_steps": 3,
    "learning_rate": 1e-2,
    "device": "cpu",
}


ALPHABET = CharTokenizer(map(chr, range(48, 98)))


class Drawing:
    """Ragged samples that are drawn in `__getitem__`, and a record of which were asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        self.asked.append(index)
        length = int(torch.randint(3, CONTEXT + 2, ()))
        return torch.randint(0, MODEL["vocab_size"], (length,))


def labelled_rows(size: int, context: int, vocab_size: int) -> tuple[torch.Tensor, ...]:
    """Tokens, labels and positions of rows, see `LabelledRows`; row 0 has nothing to train on."""
    generator = torch.Generator().manual_seed(7)
    shape = (size, context + 1)
    tokens = torch.randint(0, vocab_size, shape, generator=generator)
    trained = torch.rand(shape, generator=generator) < torch.rand((size, 1), generator=generator)
    trained[0] = False
    positions = torch.cat((torch.arange(6), torch.arange(context - 5))).repeat(size, 1)
    padding = torch.arange(context + 1) >= torch.randint(
        8, context + 2, (size, 1), generator=generator
    )
    tokens[padding], positions[padding] = IGNORED, 0
    return tokens, tokens.masked_fill(~trained, IGNORED), positions


class Labelled:
    """Rows with labels, of which one process may get far fewer to train on than another."""

    draws_random_numbers = False

    def __init__(self, size: int) -> None:
        self.rows = labelled_rows(size, CONTEXT, MODEL["vocab_size"])
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.rows[0])

    def __getitems__(self, indices: list[int]) -> LabelledRows:
        self.asked += indices
        return LabelledRows(*(part[indices] for part in self.rows))


class Events:
    """What a scenario has happen in one of its processes: a stop, a poisoned weight, a death."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan if plan.get("in_rank", 0) == int(os.environ.get("RANK", "0")) else {}

    def watch(self, trainer: Trainer) -> None:
        if "poison_before" in self.plan:
            next(iter(trainer.model.parameters())).data.fill_(float("nan"))
        # Each process fetches before a step, and only rank 0 calls callbacks.
        fetch = trainer._data.fetch

        def fetch_or_fail() -> Any:
            step = trainer.step + 1
            if step == self.plan.get("kill_before"):
                os.kill(os.getpid(), signal.SIGKILL)
            if step == self.plan.get("raise_before"):
                raise ValueError(f"nothing to read before step {step}")
            if step == self.plan.get("stop_in"):
                trainer.request_stop()
            return fetch()

        trainer._data.fetch = fetch_or_fail  # type: ignore[method-assign]


def run(folder: Path, scenario: dict[str, Any]) -> None:
    """What one process does; its result is written whatever happens."""
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")
    result: dict[str, Any] = {}
    kind = Labelled if scenario.get("labelled") else Drawing
    data, validation = kind(scenario.get("samples", 37)), kind(11)
    if scenario.get("samples_text"):
        data.tokenizer = ALPHABET  # type: ignore[attr-defined]
    shape = {**MODEL, "dropout_rate": scenario.get("dropout", 0.1), **scenario.get("model", {})}
    model = TransformerConfig(**shape)
    where = str(folder / scenario.get("folder", scenario["name"]))
    config = TrainingConfig(
        model_config=model, **{**RUN, "checkpoint_dir": where, **scenario.get("config", {})}
    )
    if earlier := scenario.get("begins_with"):
        weights = str(next((folder / earlier).glob("*.pt")))
        config = TrainingConfig.from_dict(config.to_dict() | {"initial_weights": weights})
    try:
        trainer = Trainer(config, data, validation)
        Events(scenario.get("event", {})).watch(trainer)
        result |= {"resumed_at": trainer.step, "notes": trainer.exactness_notes}
        trainer.train()
        result |= {"step": trainer.step, "stopped": trainer.stopped}
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        result |= {"asked": data.asked, "thread_count": torch.get_num_threads()}
        (folder / f"{scenario['name']}.{rank}.json").write_text(json.dumps(result))


def main(folder: Path, scenarios: list[dict[str, Any]]) -> None:
    """Runs them in their order."""
    for scenario in scenarios:
        failed: list[Any] = []
        processes = scenario.get("processes", 2)
        try:
            launch(partial(run, folder, scenario), processes)
        except ProcessFailedError as error:
            failed = [error.rank, error.exit_code, str(error)]
        (folder / f"{scenario['name']}.failed.json").write_text(json.dumps(failed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
