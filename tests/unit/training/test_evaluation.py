"""Which validation batches an evaluation passes, and what it says on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import Trainer
from app.training.batches import SampleReader, validation_batches
from app.training.checkpoint_file import read_manifest
from app.training.distributed import Ranks

Make = Callable[..., Trainer]


class Watched:
    """A validation set that remembers which samples were read."""

    draws_random_numbers = False

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.read.append(index)
        sample: torch.Tensor = self._dataset[index]
        return sample


class Recorder:
    """Remembers what evaluations found and said."""

    def __init__(self) -> None:
        self.found: dict[int, dict[str, float]] = {}
        self.said: list[tuple[int, int, int]] = []

    def on_evaluate_progress(self, step: int, done: int, total: int) -> None:
        self.said.append((step, done, total))

    def on_evaluate(self, step: int, metrics: dict[str, float]) -> None:
        self.found[step] = dict(metrics)


def samples(*batches: int) -> list[int]:
    """The samples of micro-batches of two, the last of the set having one."""
    return [index for batch in batches for index in (2 * batch, 2 * batch + 1) if index < 21]


def run(make_trainer: Make, dataset: Any, **changes: Any) -> tuple[Trainer, Watched, Recorder]:
    watched, recorder = Watched(dataset), Recorder()
    settings = {"batch_size": 2, "max_steps": 4, "eval_steps": 2, "eval_batches": 3} | changes
    trainer = make_trainer(val=watched, callbacks=[recorder], **settings)
    trainer.train()
    return trainer, watched, recorder


def test_an_evaluation_passes_spaced_batches_and_the_last_one_the_whole_set(
    make_trainer: Make, fixed_dataset: Any
) -> None:
    _, watched, recorder = run(make_trainer, fixed_dataset(21))
    # 11 batches, of which the 0th, 3rd and 7th are of every evaluation
    rest = [place for place in range(11) if place not in (0, 3, 7)]
    assert watched.read == samples(0, 3, 7) + samples(0, 3, 7, *rest)
    assert recorder.said == [(2, n, 3) for n in range(4)] + [(4, n, 11) for n in range(12)]


@pytest.mark.parametrize("eval_batches", [0, 11, 500])
def test_the_whole_set_is_passed_in_its_own_order(
    make_trainer: Make, fixed_dataset: Any, eval_batches: int
) -> None:
    _, watched, _ = run(make_trainer, fixed_dataset(21), eval_batches=eval_batches)
    assert watched.read == [*range(21), *range(21)]


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_share_out_the_same_batches(fixed_dataset: Any, processes: int) -> None:
    class Rank(Ranks):
        world_size = processes

        def __init__(self, rank: int) -> None:
            super().__init__(torch.device("cpu"))
            self.rank = rank

    places = [0, 3, 7, 10]
    counted, lengths = [], []
    for rank in range(processes):
        watched = Watched(fixed_dataset(21))
        reader = SampleReader(watched, seed=1, vocab_size=50, max_length=17)
        batches = list(validation_batches(reader, 2, Rank(rank), places))
        lengths.append(len(batches))
        counted.append(sum(batch.tokens for batch, counts in batches if counts))
        first = [places[i] for i in range(rank, len(places), processes)]
        assert watched.read[: len(samples(*first))] == samples(*first)
    assert len(set(lengths)) == 1, "a sharded model's processes must pass equally many"
    assert sum(counted) == len(samples(*places)) * 16


def test_the_last_one_may_be_as_short_as_the_others(make_trainer: Make, fixed_dataset: Any) -> None:
    _, watched, _ = run(make_trainer, fixed_dataset(21), full_final_eval=False)
    assert watched.read == samples(0, 3, 7, 0, 3, 7)


def test_the_loss_is_the_mean_over_what_was_passed(make_trainer: Make, fixed_dataset: Any) -> None:
    dataset = fixed_dataset(21, ragged=True)
    trainer, _, recorder = run(make_trainer, dataset)
    trainer.model.eval()

    def mean(indices: list[int]) -> float:
        losses, tokens = 0.0, 0
        with torch.no_grad():
            for index in indices:
                row = dataset[index][None]
                losses += float(trainer.model(row[:, :-1], row[:, 1:], reduction="sum")[1])
                tokens += row.shape[1] - 1
        return losses / tokens

    assert recorder.found[4]["val_loss"] == pytest.approx(mean(list(range(21))), rel=1e-6)
    # The best checkpoint is chosen by the batches that all evaluations share.
    last = read_manifest(Path(trainer.config.checkpoint_dir) / "checkpoint_step_4.pt")
    assert last.metric_value == pytest.approx(mean(samples(0, 3, 7)), rel=1e-6)


def test_evaluations_of_a_resumed_run_are_bitwise_those_of_an_undisturbed_one(
    make_trainer: Make, fixed_dataset: Any, tmp_path: Path
) -> None:
    dataset = fixed_dataset(21)
    _, _, straight = run(make_trainer, dataset, checkpoint_dir=str(tmp_path / "straight"))
    changes = {"checkpoint_dir": str(tmp_path / "cut"), "save_steps": 1}
    watched, stopped = Watched(dataset), Recorder()
    settings = {"batch_size": 2, "max_steps": 4, "eval_steps": 2, "eval_batches": 3} | changes
    trainer = make_trainer(val=watched, callbacks=[stopped], **settings)

    class Stop:
        def on_step_end(self, step: int, metrics: Any) -> None:
            if step == 3:
                trainer.request_stop()

    trainer.callbacks.append(Stop())
    trainer.train()
    _, _, resumed = run(make_trainer, dataset, resume_from_checkpoint=True, **changes)
    assert stopped.found | resumed.found == straight.found
    assert list(resumed.found) == [4]
