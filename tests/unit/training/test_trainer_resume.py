"""N steps straight are k steps, a resume, and the rest: to the bit."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.training.data.errors import DataError
from app.training.errors import CheckpointError, ResumeError

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


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"gradient_accumulation_steps": 3},
    "workers": {"num_workers": 2, "gradient_accumulation_steps": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "bf16": {"mixed_precision": "bf16"},
    "fp16": {"mixed_precision": "fp16"},
    "validation every step": {"eval_steps": 1},
    "muon and n-grams": {"optimizer_type": "muon", "model": {"ngram_size": 3}},
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


def test_resuming_in_another_folder_leaves_the_first_alone(
    make_trainer: Make, tmp_path: Path
) -> None:
    first = make_trainer(checkpoint_dir=str(tmp_path / "a"), max_steps=4, save_steps=2)
    first.train()
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    second = make_trainer(
        checkpoint_dir=str(tmp_path / "b"),
        resume_from_checkpoint=str(tmp_path / "a" / "checkpoint_step_2.pt"),
        max_steps=6,
        save_steps=1,
        max_checkpoints_to_keep=1,
    )
    assert second.step == 2
    second.train()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before
    assert [c["step"] for c in second.manager.list_checkpoints()] == [6]
    assert [line[0] for line in history(tmp_path / "b")] == [3, 4, 5, 6]


def test_going_back_sets_the_later_checkpoints_aside(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(save_steps=2).train()
    run = tmp_path / "run"
    back = make_trainer(
        save_steps=2, max_steps=6, resume_from_checkpoint=str(run / "checkpoint_step_4.pt")
    )
    back.train()
    assert [c["step"] for c in back.manager.list_checkpoints()] == [2, 4, 6]
    assert sorted(path.name for path in (run / "superseded-1").iterdir()) == [
        "checkpoint_step_6.json",
        "checkpoint_step_6.pt",
        "checkpoint_step_8.json",
        "checkpoint_step_8.pt",
    ]
    assert "checkpoints beyond step 4 were moved to" in caplog.text


def test_a_new_run_sets_an_older_one_aside(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(max_steps=3).train()
    again = make_trainer(max_steps=2)
    again.train()
    assert [c["step"] for c in again.manager.list_checkpoints()] == [2]
    assert [line[0] for line in history(tmp_path / "run")] == [1, 2]
    assert [line[0] for line in history(tmp_path / "run" / "previous-1")] == [1, 2, 3]


def test_a_finished_run_has_nothing_to_do_and_says_so(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(max_steps=2).train()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    again = make_trainer(max_steps=2, resume_from_checkpoint=True)
    again.train()
    assert "nothing to do: the run has reached max_steps=2" in caplog.text
    assert not again.stopped
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_nothing_to_resume_from_is_a_warning(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(resume_from_checkpoint=True)
    assert trainer.step == 0
    assert "No checkpoint found to resume from" in caplog.text


def without_manifests(folder: Path) -> list[str]:
    for manifest in folder.glob("*.json"):
        manifest.unlink()
    return sorted(path.name for path in folder.glob("*.pt"))


def test_files_copied_without_their_manifests_are_resumed_bitwise(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = make_trainer(checkpoint_dir=str(tmp_path / "straight"))
    straight.train()
    callback = StopAt(5)
    callback.trainer = make_trainer(save_steps=2, callbacks=[callback])
    callback.trainer.train()
    files = without_manifests(tmp_path / "run")
    again = make_trainer(save_steps=2, resume_from_checkpoint=True)
    assert again.step == 5
    assert "checkpoint_step_5.pt has no manifest; its own checksums" in caplog.text
    again.train()
    assert_same(straight, again)
    assert history(tmp_path / "straight") == history(tmp_path / "run")
    assert set(files) < {path.name for path in (tmp_path / "run").glob("*.pt")}
    assert not list((tmp_path / "run").glob("*-1"))


@pytest.mark.parametrize("manifests", [True, False])
def test_a_resume_with_damaged_checkpoints_alone_is_refused_and_moves_nothing(
    make_trainer: Make, tmp_path: Path, manifests: bool
) -> None:
    make_trainer(max_steps=2).train()
    folder = tmp_path / "run"
    if not manifests:
        without_manifests(folder)
    (folder / "checkpoint_step_2.pt").write_bytes(b"short")
    before = sorted(folder.iterdir())
    with pytest.raises(ResumeError, match=r"no checkpoint to resume from: .*step_2\.pt .*; name"):
        make_trainer(max_steps=4, resume_from_checkpoint=True)
    assert sorted(folder.iterdir()) == before


def test_a_folder_means_its_newest_sound_checkpoint(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    folder = tmp_path / "run"
    (folder / "checkpoint_step_4.pt").write_bytes(b"short")
    changes = {"checkpoint_dir": str(tmp_path / "second")}
    trainer = make_trainer(resume_from_checkpoint=str(folder), max_steps=3, **changes)
    trainer.train()
    assert trainer.step == 3
    assert (folder / "checkpoint_step_4.pt").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResumeError, match="empty is a folder without any file checkpoint_step_N"):
        make_trainer(resume_from_checkpoint=str(tmp_path / "empty"), **changes)


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


def test_a_checkpoint_that_was_asked_for_and_is_damaged_is_refused(
    make_trainer: Make, tmp_path: Path
) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    path = tmp_path / "run" / "checkpoint_step_4.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"step_4\.pt does not match its manifest's sha256"):
        make_trainer(resume_from_checkpoint=str(path))


def test_a_damaged_newest_checkpoint_is_passed_over(
    make_trainer: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(max_steps=4, save_steps=2).train()
    (tmp_path / "run" / "checkpoint_step_4.pt").write_bytes(b"short")
    trainer = make_trainer(resume_from_checkpoint=True)
    assert trainer.step == 2
    assert "checkpoint_step_4.pt has 5 bytes" in caplog.text


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
