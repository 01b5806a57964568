"""Random numbers of samples, validation and initialisation leave the model's alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from app.training import Trainer, rng
from app.training.batches import SampleReader


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_captured_state_gives_the_same_numbers() -> None:
    state = rng.capture()
    first = draws()
    rng.restore(state)
    assert draws() == first


def test_a_captured_state_survives_a_checkpoint_file(tmp_path: Any) -> None:
    torch.save(rng.capture(), tmp_path / "rng.pt")
    first = draws()
    rng.restore(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draws() == first


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="the generator state has keys"):
        rng.restore({**rng.capture(), "other": 1})


def test_samples_are_functions_of_seed_epoch_and_index(drawing_dataset: Any) -> None:
    reader = SampleReader(drawing_dataset, seed=1, vocab_size=50, max_length=17)
    first = reader.__getitems__((0, torch.tensor([3, 4]))).inputs
    draws()
    again = reader.__getitems__((0, torch.tensor([4, 3]))).inputs
    assert torch.equal(first, again.flip(0))
    other_epoch = reader.__getitems__((1, torch.tensor([3, 4]))).inputs
    assert not torch.equal(first, other_epoch)
    other_seed = SampleReader(drawing_dataset, seed=2, vocab_size=50, max_length=17)
    assert not torch.equal(first, other_seed.__getitems__((0, torch.tensor([3, 4]))).inputs)


def test_reading_samples_leaves_the_generators_alone(drawing_dataset: Any) -> None:
    reader = SampleReader(drawing_dataset, seed=1, vocab_size=50, max_length=17)
    state = rng.capture()
    expected = draws()
    rng.restore(state)
    reader.__getitems__((0, torch.tensor([1, 2])))
    assert draws() == expected


def test_initial_weights_follow_the_seed_alone(make_trainer: Callable[..., Trainer]) -> None:
    torch.manual_seed(1)
    first = make_trainer().model.state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = make_trainer().model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    third = make_trainer(seed=8).model.state_dict()
    assert not torch.equal(first["token_embedding.weight"], third["token_embedding.weight"])


def test_validation_changes_nothing_in_the_training(
    make_trainer: Callable[..., Trainer], drawing_dataset: Any, tmp_path: Any
) -> None:
    without = make_trainer(checkpoint_dir=str(tmp_path / "without"))
    without.train()
    with_it = make_trainer(val=drawing_dataset, eval_steps=1, checkpoint_dir=str(tmp_path / "with"))
    with_it.train()
    other = with_it.model.state_dict()
    assert all(torch.equal(t, other[name]) for name, t in without.model.state_dict().items())
