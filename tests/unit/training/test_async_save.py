"""Saving beside the training: a copy of one step, one copy at most, errors not lost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training.async_save import AsyncSaver, Snapshot
from app.training.checkpoint import CheckpointError, CheckpointManager, build_state


def state(weight: torch.Tensor, step: int) -> dict[str, Any]:
    model = torch.nn.Linear(2, 2, bias=False)
    model.weight = torch.nn.Parameter(weight)
    return build_state(model, None, None, step, 1.0, None, {"nested": [{"weight": weight}]})


def test_a_snapshot_does_not_follow_what_it_was_taken_from() -> None:
    live: dict[str, Any] = {
        "weights": {"w": torch.arange(4.0)},
        "list": [torch.ones(2), 3, "text", None],
    }
    taken = Snapshot().take(live)
    live["weights"]["w"].zero_()
    live["list"][0].zero_()
    assert torch.equal(taken["weights"]["w"], torch.arange(4.0))
    assert torch.equal(taken["list"][0], torch.ones(2))
    assert taken["list"][1:] == [3, "text", None]


def test_the_next_snapshot_uses_the_same_memory() -> None:
    snapshot = Snapshot()
    live = {"w": torch.zeros(1000)}
    first = snapshot.take(live)["w"].data_ptr()
    live["w"] += 1
    second = snapshot.take(live)["w"]
    assert second.data_ptr() == first
    assert torch.equal(second, torch.ones(1000))


def test_a_shared_tensor_is_copied_once() -> None:
    tied = torch.zeros(8)
    taken = Snapshot().take({"a": tied, "b": {"c": tied}})
    assert taken["a"].data_ptr() == taken["b"]["c"].data_ptr()


def test_a_save_is_of_the_step_it_was_asked_for(tmp_path: Path) -> None:
    """Training changes the weights while the file is being written."""
    manager = CheckpointManager(tmp_path)
    gate = threading.Event()
    saver = AsyncSaver(manager, before_rename=lambda: gate.wait(30))
    weight = torch.ones(2, 2)
    saver.submit(state(weight, 5), None)
    weight.fill_(7.0)
    assert saver.poll() is None
    assert manager.list_checkpoints() == []  # not complete before its manifest
    gate.set()
    info = saver.wait()
    assert info is not None
    assert info.step == 5
    saved = manager.load_state(info.path)
    assert torch.equal(saved["model_state_dict"]["weight"], torch.ones(2, 2))
    assert saver.wait() is None


def test_the_error_of_a_save_is_raised_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    saver = AsyncSaver(CheckpointManager(tmp_path / "file" / "run"))
    saver.submit(state(torch.ones(2, 2), 1), None)
    with pytest.raises(CheckpointError, match=r"checkpoint_step_1\.pt could not be written"):
        saver.wait()
    assert saver.poll() is None


def test_two_saves_at_once_are_a_mistake(tmp_path: Path) -> None:
    gate = threading.Event()
    saver = AsyncSaver(CheckpointManager(tmp_path), before_rename=lambda: gate.wait(30))
    saver.submit(state(torch.ones(2, 2), 1), None)
    with pytest.raises(RuntimeError, match="a save is in progress"):
        saver.submit(state(torch.ones(2, 2), 2), None)
    gate.set()
    saver.wait()
