"""A cache of its own for every test, and short configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.training.config import TrainingConfig
from app.transformer.config import TransformerConfig

ConfigMaker = Callable[..., TrainingConfig]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(folder))
    return folder


@pytest.fixture
def make_config() -> ConfigMaker:
    def make(vocab_size: int = 256, **fields: Any) -> TrainingConfig:
        model = TransformerConfig(vocab_size=vocab_size, hidden_size=8, num_layers=1, num_heads=1)
        return TrainingConfig(model_config=model, **{"sequence_length": 4, **fields})

    return make
