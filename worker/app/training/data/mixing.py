"""Loads the sources of a mixture, each like a dataset of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from app.training import progress
from app.training.config import DataSource, TrainingConfig
from app.training.data.mixture import MixedValidation, MixedWindows, Source
from app.training.data.sources import CorpusWithValidation, corpus_at
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
    config: TrainingConfig, load: Callable[[str, CorpusWithValidation, TrainingConfig], Loaded]
) -> tuple[MixedWindows, Any]:
    """Return the windows of all sources, mixed by their weights.

    Validation is `val_dataset_path`, else the mixture of what each source holds back.

    Args:
        load: returns the windows of one path, whose files were found.
    """
    corpora = []
    for number, (source, alone) in enumerate(configs_of_sources(config)):
        with _warnings_of_source(number):
            corpora.append((source, corpus_at(Path(source.path), alone, "train"), alone))
    loaded, work = [], progress.SourcesWork([each.size for _, each, _ in corpora])
    for number, (source, corpus, alone) in enumerate(corpora):
        with _warnings_of_source(number), work.source(number):
            loaded.append((source, load(source.path, corpus, alone)))
    train = MixedWindows([Source(s.path, s.weight, found[0]) for s, found in loaded], config.seed)
    if config.val_dataset_path is not None:
        return train, loaded[0][1][1]
    parts = [Source(s.path, s.weight, found[1]) for s, found in loaded if found[1] is not None]
    if parts and len(parts) < len(loaded):
        names = ", ".join(repr(part.name) for part in parts)
        warn("val_fraction", f"validation is on {names} alone; the other sources hold nothing back")
    return train, MixedValidation(parts) if parts else None


def _warnings_of_source(number: int) -> AbstractContextManager[None]:
    return warnings_of(f"data.sources[{number}].path")
