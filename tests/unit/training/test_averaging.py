"""The average of the weights: what it is, where it is measured, and how it is had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.training import Trainer
from app.training.averaging import AveragedWeights
from app.training.errors import CheckpointError
from app.training.export import export_checkpoint
from app.training.inference import load_trained

Make = Callable[..., Trainer]


def test_the_average_follows_each_step_and_the_first_ones_quickly() -> None:
    model = nn.Linear(2, 1, bias=False)
    average = AveragedWeights(model, decay=0.25)
    expected = model.weight.detach().clone()
    for step, decay in [(1, 0.1), (2, 2 / 11), (3, 0.25), (4, 0.25)]:
        nn.init.constant_(model.weight, step)
        average.update(step)
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.state_dict()["weight"], expected)
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight.detach(), torch.full((1, 2), 4.0))


def test_both_are_validated_and_the_average_is_loaded_on_request(
    make_trainer: Make, fixed_dataset: Any, tmp_path: Path
) -> None:
    data = fixed_dataset(size=6)
    trainer = make_trainer(data, data, ema_decay=0.9, eval_steps=8, best_metric="ema_val_loss")
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (info,) = trainer.manager.infos()
    assert (info.metric, info.metric_value) == ("ema_val_loss", lines[-1]["ema_val_loss"])
    for averaged, metric in [(False, "val_loss"), (True, "ema_val_loss")]:
        model = load_trained(info.path, averaged=averaged).model
        total = sum(model(row[None, :-1], row[None, 1:], reduction="sum")[1].item() for row in data)
        tokens = sum(len(row) - 1 for row in data)
        assert lines[-1][metric] == pytest.approx(total / tokens, rel=1e-5)
    assert lines[-1]["val_loss"] != lines[-1]["ema_val_loss"]


def test_a_checkpoint_without_an_average_says_so(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(max_steps=1)
    trainer.train()
    (info,) = trainer.manager.infos()
    with pytest.raises(CheckpointError, match="has no average of the weights; train with `ema_de"):
        export_checkpoint(Path(info.path), tmp_path / "export", averaged=True)


def test_an_average_that_begins_on_a_resume_begins_with_the_weights(make_trainer: Make) -> None:
    make_trainer(max_steps=2).train()
    trainer = make_trainer(max_steps=3, resume_from_checkpoint=True, ema_decay=0.9)
    assert trainer._average is not None
    weights = trainer.model.state_dict()
    for name, average in trainer._average.state_dict().items():
        assert torch.equal(average, weights[name])
