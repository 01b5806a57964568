"""A resume with another configuration or text: what is taken, noted and refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from resumed_runs import STEPS, Make, assert_same, history

from app.training import Trainer
from app.training.data import load_dataset
from app.training.data.errors import DataError
from app.training.errors import ResumeError


def test_a_longer_run_recomputes_its_schedule_and_says_so(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(max_steps=4).train()
    longer = make_trainer(max_steps=STEPS, resume_from_checkpoint=True)
    assert "max_steps: 4 -> 8" in caplog.text
    assert longer.scheduler.get_last_lr()[0] == 1e-2 * longer.scheduler.factor(4)
    longer.train()
    rates = [line[2] for line in history(longer.config.checkpoint_dir)]
    assert rates[4:] == [1e-2 * longer.scheduler.factor(step) for step in range(4, STEPS)]


def test_the_configured_rates_win_over_the_saved_ones(make_trainer: Make) -> None:
    make_trainer(max_steps=4).train()
    changed = make_trainer(
        resume_from_checkpoint=True, learning_rate=1e-3, weight_decay=0.5, adam_beta2=0.9
    )
    groups = changed.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert groups[0]["betas"] == (0.9, 0.9)
    assert groups[0]["lr"] == 1e-3 * changed.scheduler.factor(4)


@pytest.mark.parametrize(
    ("before", "now"), [(None, "fp16"), ("bf16", "fp16"), ("fp16", None), ("fp16", "bf16")]
)
def test_another_precision_is_taken_and_noted(make_trainer: Make, before: Any, now: Any) -> None:
    make_trainer(max_steps=2, mixed_precision=before).train()
    trainer = make_trainer(max_steps=4, mixed_precision=now, resume_from_checkpoint=True)
    note = f"mixed_precision is {now} and was {before}"
    if now == "fp16":
        note += "; loss scaling begins with a fresh scale"
        assert trainer._stepper.scaler.get_scale() == 65536.0
    assert trainer.exactness_notes == [note]
    trainer.train()
    assert trainer.step == 4


def test_fewer_steps_than_the_checkpoint_has_are_refused(make_trainer: Make) -> None:
    make_trainer(max_steps=4).train()
    with pytest.raises(ResumeError, match=r"`max_steps` is 3 and the checkpoint .* at step 4"):
        make_trainer(max_steps=3, resume_from_checkpoint=True)


def test_another_model_is_refused(make_trainer: Make) -> None:
    make_trainer(max_steps=2).train()
    with pytest.raises(ResumeError, match=r"another model: in model_config num_layers is 3 and wa"):
        make_trainer(resume_from_checkpoint=True, model={"num_layers": 3})


def test_another_seed_is_refused(make_trainer: Make) -> None:
    make_trainer(max_steps=2).train()
    with pytest.raises(ResumeError, match="`seed` is 7, but the checkpoint's data order"):
        make_trainer(resume_from_checkpoint=True, seed=7)


def on_text(small_config: Any, path: Path, text: str, **changes: Any) -> tuple[Trainer, Any]:
    """A trainer on a text, and the tokenizer of its data."""
    path.write_text(text)
    config = small_config(model={"vocab_size": 280, "max_position_embeddings": 128}, **changes)
    train, validation = load_dataset(path, config)
    return Trainer(config, train, validation), train.tokenizer


def test_another_tokenizer_is_refused(small_config: Any, tmp_path: Path) -> None:
    path, text = tmp_path / "text.txt", "abcdef" * 40
    on_text(small_config, path, text, tokenizer="char", max_steps=2)[0].train()
    with pytest.raises(ResumeError, match=r"cannot resume from .* ids would change their meaning"):
        on_text(small_config, path, text, tokenizer="byte", resume_from_checkpoint=True)


WORDS = "the cat sat on the mat and the dog sat on the log; " * 40
CHATS = '{"prompt": "is it far", "completion": "no it is near"}\n' * 40


@pytest.mark.parametrize(
    ("tokenizer", "name", "text", "edit"),
    [
        ("char", "text.txt", WORDS, ("log;", "cat ")),
        ("bpe:280", "text.txt", WORDS, ("mat and", "cat and")),
        ("bpe:280", "chats.jsonl", CHATS, ("no it is", "no is it")),
        ("char", "chats.jsonl", CHATS, ("is it far", "it is far")),
    ],
)
def test_a_tokenizer_made_of_text_is_the_checkpoints_whatever_the_text(
    small_config: Any, tmp_path: Path, tokenizer: str, name: str, text: str, edit: tuple[str, str]
) -> None:
    path, options = tmp_path / name, {"tokenizer": tokenizer, "val_fraction": 0.0}
    begun, its_own = on_text(small_config, path, text, max_steps=2, **options)
    begun.train()
    options |= {"max_steps": 4, "resume_from_checkpoint": True}
    assert on_text(small_config, path, text, **options)[0].exactness_notes == []
    resumed, kept = on_text(small_config, path, text.replace(*edit), **options)
    assert kept.to_dict() == its_own.to_dict()
    assert resumed.exactness_notes == ["the data are not those it was begun with"]
    resumed.train()
    again, kept = on_text(small_config, path, text.replace(*edit), **options)
    assert (again.step, again.exactness_notes) == (4, [])
    assert kept.to_dict() == its_own.to_dict()


def test_changed_text_keeps_the_rules_of_a_resume(small_config: Any, tmp_path: Path) -> None:
    path, options = tmp_path / "text.txt", {"tokenizer": "char", "max_steps": 2}
    on_text(small_config, path, WORDS, **options)[0].train()
    options |= {"resume_from_checkpoint": True, "max_steps": 4}
    with pytest.raises(ResumeError, match="the number of the training data's windows is"):
        on_text(small_config, path, WORDS * 2, **options)
    with pytest.raises(
        DataError, match=r"the text holds 'x' at .* characters of its training text"
    ):
        on_text(small_config, path, WORDS + "x", **options)


def test_weights_saved_by_hand_are_no_run_to_resume(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.manager.save_checkpoint(
        trainer.model, trainer.optimizer, trainer.scheduler, 3, 1.0, trainer.config
    )
    with pytest.raises(ResumeError, match="holds weights but no run"):
        make_trainer(resume_from_checkpoint=True)


def test_the_recorded_threads_are_taken_and_lost_bits_are_named(
    make_trainer: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    make_trainer(max_steps=2).train()
    torch.set_num_threads(1)
    with caplog.at_level(logging.WARNING):
        make_trainer(resume_from_checkpoint=True)
    assert torch.get_num_threads() == 2
    assert "no longer bitwise" not in caplog.text
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "VSX")
    make_trainer(resume_from_checkpoint=True)
    assert "no longer bitwise what it would have been: cpu_capability is VSX" in caplog.text


def test_a_wsd_run_is_made_longer_from_before_its_cooldown_without_a_trace(
    make_trainer: Make, tmp_path: Path
) -> None:
    wsd = {"scheduler_type": "wsd", "cooldown_steps": 2, "save_steps": 4}
    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"), max_steps=8, **wsd)
    straight.train()
    folder = tmp_path / "longer"
    make_trainer(checkpoint_dir=str(folder), max_steps=6, **wsd).train()  # cools down from step 4
    before = str(folder / "checkpoint_step_4.pt")
    longer = make_trainer(
        checkpoint_dir=str(folder), max_steps=8, resume_from_checkpoint=before, **wsd
    )
    longer.train()
    assert_same(straight, longer)
    assert history(tmp_path / "straight") == history(folder)
