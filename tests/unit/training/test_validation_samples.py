"""Texts sampled at each validation: the same ones always, each once, no trace in the training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from resumed_runs import assert_same, history

from app.training import Trainer, TrainingConfig
from app.training.character_tokenizers import CharTokenizer
from app.training.inference import load_for_generation
from app.training.sampled_text import sample_pieces
from app.training.validation_samples import PromptSample
from app.transformer import ConfigError

Make = Callable[..., Trainer]
ALPHABET = CharTokenizer(map(chr, range(48, 98)))
RUN: dict[str, Any] = {"eval_steps": 3, "save_steps": 3, "ema_decay": 0.9}
PROMPTS = {"sample_prompts": ["AB", ""], "sample_tokens": 20, "sample_seed": 7}


@pytest.fixture
def make(make_trainer: Make, fixed_dataset: Callable[..., Any], drawing_dataset: Any) -> Make:
    """A factory of trainers with validation data and a tokenizer."""
    drawing_dataset.tokenizer = ALPHABET
    return lambda **changes: make_trainer(
        train=drawing_dataset, val=fixed_dataset(9), **(RUN | changes)
    )


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_samples_are_those_of_the_checkpoint_and_change_nothing(make: Make, tmp_path: Path) -> None:
    without, seen = make(checkpoint_dir=str(tmp_path / "without")), Collected()
    without.train()
    trainer = make(checkpoint_dir=str(tmp_path / "with"), callbacks=[seen], **PROMPTS)
    trainer.train()
    assert_same(without, trainer)
    assert history(tmp_path / "without") == history(tmp_path / "with")
    assert not (tmp_path / "without" / "samples.jsonl").exists()
    lines = samples(tmp_path / "with")
    assert [line["step"] for line in lines] == [3, 6, 8] == [*seen.found]
    for line in lines:
        path = tmp_path / "with" / f"checkpoint_step_{line['step']}.pt"
        model, tokenizer = load_for_generation(path)
        for sample in line["samples"]:
            pieces = sample_pieces(
                model, tokenizer, sample["prompt"], max_tokens=20, temperature=0.8, seed=7
            )
            assert sample["text"] == "".join(piece.text for piece in pieces)
            assert len(sample["text"]) == 20
    assert lines[0]["samples"] != lines[2]["samples"]


@pytest.mark.parametrize("done", [0, 1])
def test_a_stop_among_the_samples_leaves_each_step_with_its_own_once(
    make: Make, tmp_path: Path, done: int
) -> None:
    """The stop comes once `done` of the evaluation's batches and prompts are done."""
    straight = make(checkpoint_dir=str(tmp_path / "straight"), **PROMPTS)
    straight.train()
    folder = {"checkpoint_dir": str(tmp_path / "parts")}
    stop = StopAmong(total_left=done)
    stop.trainer = first = make(callbacks=[stop], **folder, **PROMPTS)
    first.train()
    assert (first.stopped, first.step) == (True, 6)
    assert [line["step"] for line in samples(tmp_path / "parts")] == [3, 6][: 2 if done == 0 else 1]
    second = make(resume_from_checkpoint=True, **folder, **PROMPTS)
    second.train()
    assert_same(straight, second)
    assert history(tmp_path / "straight") == history(tmp_path / "parts")
    assert samples(tmp_path / "straight") == samples(tmp_path / "parts")


class Collected:
    def __init__(self) -> None:
        self.found: dict[int, Sequence[PromptSample]] = {}

    def on_samples(self, step: int, samples: Sequence[PromptSample]) -> None:
        self.found[step] = samples


class StopAmong:
    trainer: Trainer

    def __init__(self, total_left: int) -> None:
        self._left = total_left

    def on_evaluate_progress(self, step: int, done: int, total: int) -> None:
        if step == 6 and total - done == self._left:
            self.trainer.request_stop()


def test_a_run_without_prompts_goes_back_behind_samples_of_one_with(
    make: Make, tmp_path: Path
) -> None:
    make(**PROMPTS).train()
    newest = tmp_path / "run" / "checkpoint_step_3.pt"
    make(resume_from_checkpoint=str(newest)).train()
    assert [line["step"] for line in samples(tmp_path / "run")] == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sample_prompts": ["~"]},
            r"the text holds '~' at 0; the character tokenizer knows the 50",
        ),
        ({"sample_prompts": ["A"] * 9}, "it must be at most 8 texts of at most 2,000 characters"),
        (
            {"sample_prompts": ["A" * 2001]},
            "it must be at most 8 texts of at most 2,000 characters",
        ),
        ({"sample_prompts": ["\ud800"]}, "valid Unicode; leave some out, or shorten them"),
        ({"sample_tokens": 513}, "`sample_tokens` is 513; it must be between 1 and 512; try 64"),
        ({"sample_temperature": -1.0}, "`sample_temperature` is -1.0; it must be at least 0"),
        ({"sample_seed": -1}, "`sample_seed` is -1; it must be at least 0 and below"),
        (
            {"sample_prompts": ["A"], "distributed": {"strategy": "fsdp", "processes": 1}},
            r"has 1 and `distributed.strategy` is 'fsdp', .* or take the strategy ddp",
        ),
        (
            {"sample_prompts": ["A", "B"], "max_steps": 10**6, "eval_steps": 10},
            "64 in 100,000 evaluations: 12,800,000 tokens; a run may sample at most 2,000,000; ask",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_the_first_step(
    make: Make, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_samples_need_validation_data_and_a_tokenizer(
    make_trainer: Make, fixed_dataset: Callable[..., Any]
) -> None:
    with pytest.raises(
        ConfigError, match=r"`sample_prompts` has 2, .* there is no validation data"
    ):
        make_trainer(**PROMPTS)
    with pytest.raises(ConfigError, match=r"`sample_prompts\[0\]` is 'AB', .* without a tokenizer"):
        make_trainer(val=fixed_dataset(9), **PROMPTS)


def test_one_prompt_may_be_written_without_a_list() -> None:
    assert TrainingConfig(sample_prompts="Once").sample_prompts == ["Once"]  # type: ignore[arg-type]
