"""Windows: each visited once an epoch, moved by the epoch, whole validation, fast batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from app.training.data import TrainingWindows, ValidationWindows, load_dataset
from app.training.sampler import BatchSampler


@pytest.fixture
def datasets(tmp_path: Path, make_config: Any) -> tuple[TrainingWindows, ValidationWindows]:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(127))
    train, validation = load_dataset(path, make_config(sequence_length=10, val_fraction=0.2))
    assert validation is not None
    return train, validation  # 101 and 26 ids


def test_a_window_is_sequence_length_plus_one_int64(datasets: Any):
    train, _ = datasets
    window = train[0]
    assert window.dtype == torch.int64
    assert window.tolist() == list(range(int(window[0]), int(window[0]) + 11))


def test_an_epoch_predicts_every_id_once_except_at_the_edges(datasets: Any):
    train, _ = datasets
    assert train.num_tokens == 101
    assert len(train) == 9
    offsets = set()
    for epoch in range(60):
        train.set_epoch(epoch)
        sampler = BatchSampler(len(train), 2, seed=1)
        windows = torch.cat([train.__getitems__(sampler.next_batch()) for _ in range(len(sampler))])
        targets = sorted(windows[:, 1:].flatten().tolist())
        assert targets == list(range(targets[0], targets[0] + 90))
        offsets.add(targets[0] - 1)
        assert targets[-1] < 101
    assert offsets == set(range(10))


def test_the_offset_is_a_pure_function_of_seed_and_epoch(datasets: Any):
    train, _ = datasets
    first = [int((train.set_epoch(epoch), train[0][0])[1]) for epoch in range(20)]
    again = [int((train.set_epoch(epoch), train[0][0])[1]) for epoch in reversed(range(20))]
    assert first == again[::-1]
    assert len(set(first)) > 3


@pytest.mark.parametrize("count", [5, 6, 8, 9, 10, 12, 13])
def test_short_data_keeps_at_least_one_window(tmp_path: Path, make_config: Any, count: int):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(count))
    train, validation = load_dataset(path, make_config(sequence_length=4, val_fraction=0))
    assert validation is None
    for epoch in range(20):
        train.set_epoch(epoch)
        seen = torch.cat([train[i] for i in range(len(train))])
        assert len(train) == max(1, count // 4 - 1)
        assert seen.max() < count


def test_validation_predicts_every_id_with_a_shorter_last_window(datasets: Any):
    _, validation = datasets
    assert [len(validation[i]) for i in range(len(validation))] == [11, 11, 6]
    targets = torch.cat([validation[i][1:] for i in range(len(validation))])
    assert targets.tolist() == list(range(102, 127))


def test_batches_equal_single_windows(datasets: Any):
    train, validation = datasets
    indices = [5, 0, 8]
    batch = train.__getitems__(indices)
    assert batch.shape == (3, 11)
    assert batch.dtype == torch.int64
    assert torch.equal(batch, torch.stack([train[i] for i in indices]))
    assert torch.equal(batch, train.__getitems__(torch.tensor(indices)))
    assert torch.equal(validation.__getitems__([0, 1]), torch.stack([validation[0], validation[1]]))
    ragged = validation.__getitems__([1, 2])
    assert [len(window) for window in ragged] == [11, 6]


def test_indices_outside_are_refused(datasets: Any):
    train, validation = datasets
    for wrong in (9, -10):
        with pytest.raises(IndexError, match="of 9"):
            train[wrong]
    with pytest.raises(IndexError, match=r"windows 0\.\.9 of 9"):
        train.__getitems__([0, 9])
    with pytest.raises(IndexError, match="window 3 of 3"):
        validation[3]
    assert torch.equal(train[-1], train[8])


def test_a_pickled_dataset_maps_its_file_anew(datasets: Any):
    train, _ = datasets
    train.set_epoch(3)
    expected = train[4]
    data = pickle.dumps(train)
    assert len(data) < 5000  # the ids are not in it
    assert torch.equal(pickle.loads(data)[4], expected)  # noqa: S301


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_loader_workers_give_the_same_batches(datasets: Any, start_method: str):
    train, _ = datasets
    sampler = BatchSampler(len(train), 4, seed=1)
    loader = DataLoader(
        train,
        batch_sampler=[sampler.batch_at(0, first).tolist() for first in range(0, len(train), 4)],
        num_workers=1,
        collate_fn=torch.Tensor.contiguous,
        multiprocessing_context=start_method,
    )
    for batch in loader:
        assert torch.equal(batch, train.__getitems__(sampler.next_batch()))
    assert sampler.epoch == 1


def test_fingerprints_tell_content_apart(tmp_path: Path, make_config: Any):
    path = tmp_path / "a.txt"
    path.write_text("abcdefghijklmnopqrstuvwxyz")
    train, validation = load_dataset(path, make_config())
    assert validation is not None
    assert train.fingerprint == load_dataset(path, make_config())[0].fingerprint
    path.write_text("abcdefghijklmnopqrstuvwxyZ")
    assert train.fingerprint != load_dataset(path, make_config())[0].fingerprint
    assert train.draws_random_numbers is False
