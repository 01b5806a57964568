"""Loads the sources of a mixture, each like a dataset of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from app.training.config import DataSource, TrainingConfig
from app.training.data.mixture import MixedValidation, MixedWindows, Source
from app.training.data_warnings import warn, warnings_of
from app.training.sampler import seed_for

Loaded = tuple[Any, Any]
"""Windows for training, and for validation or None."""


def configs_of_sources(config: TrainingConfig) -> Iterator[tuple[DataSource, TrainingConfig]]:
    """Yield each source with the configuration that trains on it alone."""
    alone = dataclasses.replace(config.data, sources=[])
    for number, source in enumerate(config.data.sources):
        seed = seed_for("source", config.seed, number)
        yield source, dataclasses.replace(config, data=alone, dataset_path=source.path, seed=seed)


def load_mixture(
    config: TrainingConfig, load: Callable[[str, TrainingConfig], Loaded]
) -> tuple[MixedWindows, Any]:
    """Return the windows of all sources, mixed by their weights.

    Validation is `val_dataset_path`, else the mixture of what each source holds back.

    Args:
        load: `load_dataset` for one path.
    """
    loaded = []
    for number, (source, alone) in enumerate(configs_of_sources(config)):
        with warnings_of(f"data.sources[{number}].path"):
            loaded.append((source, load(source.path, alone)))
    train = MixedWindows([Source(s.path, s.weight, found[0]) for s, found in loaded], config.seed)
    if config.val_dataset_path is not None:
        return train, loaded[0][1][1]
    parts = [Source(s.path, s.weight, found[1]) for s, found in loaded if found[1] is not None]
    if parts and len(parts) < len(loaded):
        names = ", ".join(repr(part.name) for part in parts)
        warn("val_fraction", f"validation is on {names} alone; the other sources hold nothing back")
    return train, MixedValidation(parts) if parts else None
