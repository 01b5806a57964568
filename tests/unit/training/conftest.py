"""A run small enough to repeat many times: two layers, width 32, context 16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed_runs import labelled_rows
from torch.utils.data import Dataset

from app.training import Trainer, TrainingConfig
from app.training.batches import LabelledRows
from app.transformer import TransformerConfig

VOCAB_SIZE = 50
CONTEXT = 16


class DrawingDataset(Dataset[torch.Tensor]):
    """Draws from all three generators in `__getitem__`, as users' datasets do."""

    def __len__(self) -> int:
        return 21

    def __getitem__(self, index: int) -> torch.Tensor:
        import random

        tokens = torch.randint(0, VOCAB_SIZE, (CONTEXT + 1,))
        tokens[0] = random.randrange(VOCAB_SIZE)
        tokens[1] = int(np.random.randint(VOCAB_SIZE))
        return tokens


class FixedDataset(Dataset[torch.Tensor]):
    """The same samples always; with `ragged` they have between 2 and 17 tokens."""

    draws_random_numbers = False

    def __init__(self, size: int = 21, ragged: bool = False) -> None:
        generator = torch.Generator().manual_seed(5)
        lengths = torch.randint(2, CONTEXT + 2, (size,), generator=generator).tolist()
        self.samples = [
            torch.randint(0, VOCAB_SIZE, (n if ragged else CONTEXT + 1,), generator=generator)
            for n in lengths
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.samples[index]


class LabelledDataset(Dataset[torch.Tensor]):
    """Rows of two documents, of which a part is trained on; that of row 0 is nothing."""

    draws_random_numbers = False

    def __init__(self, size: int = 10) -> None:
        self.rows = LabelledRows(*labelled_rows(size, CONTEXT, VOCAB_SIZE))

    def __len__(self) -> int:
        return len(self.rows.tokens)

    def __getitems__(self, indices: list[int]) -> LabelledRows:
        rows = self.rows
        assert rows.positions is not None
        return LabelledRows(rows.tokens[indices], rows.labels[indices], rows.positions[indices])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenized files stay in the test's own folder."""
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small work is fastest on one thread, and a test must not inherit another's number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_config(tmp_path: Path) -> Callable[..., TrainingConfig]:
    """A factory of configurations; keywords win, those of the model in `model`."""

    def make(model: dict[str, Any] | None = None, **changes: Any) -> TrainingConfig:
        shape: dict[str, Any] = {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "max_position_embeddings": CONTEXT,
            "dropout_rate": 0.1,
        }
        values: dict[str, Any] = {
            "batch_size": 4,
            "max_steps": 8,
            "warmup_steps": 2,
            "logging_steps": 1,
            "save_steps": 1000,
            "eval_steps": 1000,
            "learning_rate": 1e-2,
            "checkpoint_dir": str(tmp_path / "run"),
            "device": "cpu",
        }
        return TrainingConfig(
            model_config=TransformerConfig(**(shape | (model or {}))), **(values | changes)
        )

    return make


@pytest.fixture
def make_trainer(small_config: Callable[..., TrainingConfig]) -> Callable[..., Trainer]:
    """A factory of trainers over `DrawingDataset`; keywords as for `small_config`."""

    def make(train: Any = None, val: Any = None, callbacks: Any = (), **changes: Any) -> Trainer:
        dataset = DrawingDataset() if train is None else train
        return Trainer(small_config(**changes), dataset, val, callbacks)

    return make


@pytest.fixture
def drawing_dataset() -> DrawingDataset:
    return DrawingDataset()


@pytest.fixture
def fixed_dataset() -> Callable[..., FixedDataset]:
    return FixedDataset


@pytest.fixture
def labelled_dataset() -> Callable[..., LabelledDataset]:
    return LabelledDataset
