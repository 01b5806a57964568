"""What a run trains on, in one sentence for its log and its job."""

from __future__ import annotations

from typing import Any

from app.training.config import TrainingConfig
from app.training.data.mixture import MixedWindows

_MOST_NAMED = 5


def data_summary(train: Any, validation: Any, config: TrainingConfig) -> str:
    """Return how much trains and validates, and how often the run goes through it.

    Args:
        train: what `load_dataset` returns first; any dataset with a length.
        validation: the same for validation, or None.
    """
    samples = config.max_steps * config.get_effective_batch_size()
    steps = f"{config.max_steps:,} steps"
    if isinstance(train, MixedWindows):
        trains = _mixed(train, samples, steps)
    else:
        times = samples / len(train)
        trains = f"{len(train):,} windows train, gone through {times:.3g} times in {steps}"
    if validation is None:
        return f"{trains}; nothing validates"
    return f"{trains}; {len(validation):,} windows validate"


def _mixed(train: MixedWindows, samples: int, steps: str) -> str:
    parts = zip(train.sources, train.shares, train.epochs_in(samples), strict=True)
    named = [
        f"{100 * share:.4g} % of the samples from {source.name!r} ({len(source.dataset):,} "
        f"windows, gone through {times:.3g} times in {steps})"
        for source, share, times in parts
    ]
    more = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {more} more sources" if more > 0 else "")
