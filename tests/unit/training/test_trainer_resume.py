"""N steps straight are k steps, a resume, and the rest: to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resumed_runs import STEPS, Make, assert_same, history, run_in_parts

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"gradient_accumulation_steps": 3},
    "workers": {"num_workers": 2, "gradient_accumulation_steps": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "bf16": {"mixed_precision": "bf16"},
    "fp16": {"mixed_precision": "fp16"},
    "validation every step": {"eval_steps": 1},
    "muon and n-grams": {
        "optimizer_type": "muon",
        "model": {"ngram_size": 3, "mix_in_embedding": True},
    },
    "average": {"ema_decay": 0.5},
    "muon in fp16": {"optimizer_type": "muon", "mixed_precision": "fp16"},
    "wsd and z-loss": {"scheduler_type": "wsd", "cooldown_steps": 4, "z_loss": 1e-2},
}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda name: name.replace(" ", "-"))
def test_two_resumes_are_bitwise_one_run(make_trainer: Make, tmp_path: Path, variant: str) -> None:
    changes = VARIANTS[variant]
    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"), **changes)
    straight.train()
    resumed = run_in_parts(make_trainer, [3, 5], tmp_path / "parts", **changes)
    assert_same(straight, resumed)
    assert history(tmp_path / "straight") == history(tmp_path / "parts")


def test_a_run_that_pauses_where_it_is_to_is_bitwise_one_run(
    make_trainer: Make, tmp_path: Path
) -> None:
    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"))
    straight.train()
    parts = {"checkpoint_dir": str(tmp_path / "parts")}
    paused = make_trainer(**parts)
    for step in (3, 3, 5):  # twice the same: nothing is left to do
        paused.train(until=step)
        assert (paused.step, paused.stopped, paused.is_paused) == (step, True, True)
        paused = make_trainer(**parts, resume_from_checkpoint=True)
    paused.train()
    assert (paused.step, paused.stopped, paused.is_paused) == (STEPS, False, False)
    assert_same(straight, paused)
    assert history(tmp_path / "straight") == history(tmp_path / "parts")


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_a_resume_at_any_step_is_bitwise_one_run(
    make_trainer: Make, tmp_path: Path, stop: int
) -> None:
    # 21 samples in micro-batches of 4: an epoch ends in the middle of step 3, on a ragged batch.
    straight = make_trainer(gradient_accumulation_steps=2, checkpoint_dir=str(tmp_path / "a"))
    straight.train()
    resumed = run_in_parts(make_trainer, [stop], tmp_path / "b", gradient_accumulation_steps=2)
    assert_same(straight, resumed)


def test_loader_workers_change_nothing(make_trainer: Make, tmp_path: Path) -> None:
    alone = make_trainer(checkpoint_dir=str(tmp_path / "alone"))
    alone.train()
    helped = make_trainer(checkpoint_dir=str(tmp_path / "helped"), num_workers=2)
    helped.train()
    assert_same(alone, helped)


def test_a_killed_run_continues_from_its_last_save(make_trainer: Make, tmp_path: Path) -> None:
    """What was logged after the last save is logged once all the same."""

    class Crash:
        def on_step_end(self, step: int, metrics: dict[str, float]) -> None:
            if step == 6:
                raise KeyboardInterrupt

    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"))
    straight.train()
    killed = make_trainer(checkpoint_dir=str(tmp_path / "run"), save_steps=4, callbacks=[Crash()])
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert [line[0] for line in history(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    resumed = make_trainer(
        checkpoint_dir=str(tmp_path / "run"), save_steps=4, resume_from_checkpoint=True
    )
    assert resumed.step == 4
    resumed.train()
    assert_same(straight, resumed)
    assert history(tmp_path / "straight") == history(tmp_path / "run")


def test_windows_of_a_file_resume_bitwise(
    small_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(97 + i * i % 26) for i in range(600)))
    changes: dict[str, Any] = {
        "model": {"vocab_size": 256},
        "gradient_accumulation_steps": 3,
        "eval_steps": 3,
    }

    def make(callbacks: Any = (), **more: Any) -> Trainer:
        config = small_config(**(changes | more))
        return Trainer(config, *load_dataset(text, config), callbacks=callbacks)

    straight = make(checkpoint_dir=str(tmp_path / "straight"))
    straight.train()
    resumed = run_in_parts(make, [2, 5], tmp_path / "parts")
    assert_same(straight, resumed)
    assert history(tmp_path / "straight") == history(tmp_path / "parts")


def test_a_stop_during_validation_loses_no_history(make_trainer: Make, tmp_path: Path) -> None:
    """The cut validation is done by the resumed run, before its first step."""

    class StopWhileValidating:
        trainer: Trainer

        def on_evaluate_start(self, step: int) -> None:
            if step == 4:
                self.trainer.request_stop()

    rows = [torch.arange(i, i + 17) % 50 for i in range(9)]
    straight = make_trainer(val=rows, eval_steps=2, checkpoint_dir=str(tmp_path / "a"))
    straight.train()
    callback = StopWhileValidating()
    stopped = make_trainer(
        val=rows, eval_steps=2, checkpoint_dir=str(tmp_path / "b"), callbacks=[callback]
    )
    callback.trainer = stopped
    stopped.train()
    assert (stopped.stopped, stopped.step) == (True, 4)
    resumed = make_trainer(
        val=rows, eval_steps=2, checkpoint_dir=str(tmp_path / "b"), resume_from_checkpoint=True
    )
    resumed.train()
    assert_same(straight, resumed)
    assert history(tmp_path / "a") == history(tmp_path / "b")
