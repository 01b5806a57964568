"""A mixture of datasets: which window of which source a sample is, by its number alone.

A run's sample `n` comes from the source that the schedule names, and is that source's next window.
Each source is gone through epoch by epoch in an order and at an offset of its own, so that a source
that is used up repeats in another order. Nothing is counted: whichever process reads sample `n`,
before or after a resume, reads the same window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from app.training.batches import IGNORED, LabelledRows
from app.training.data.cache import cache_key
from app.training.data.schedule import order_of_sources, whole_shares
from app.training.sampler import epoch_order, seed_for

Numbers = npt.NDArray[np.int64]
Samples = Tensor | LabelledRows

_ENDLESS = 1 << 62
"""Length of a mixture for training: its sources repeat for as long as it is read."""


class Source(NamedTuple):
    """A dataset of a mixture."""

    name: str
    """Its path as the configuration has it."""
    weight: float
    dataset: Any
    """Windows: `__len__`, `__getitems__(indices)`, perhaps `set_epoch(epoch)`."""


class _Schedule:
    """Source and number within the source of samples, by their numbers."""

    def __init__(self, weights: Sequence[float]) -> None:
        self.shares = np.array(whole_shares(weights), dtype=np.int64)
        self._sources = np.array(order_of_sources(tuple(self.shares.tolist())), dtype=np.int32)
        self._ranks = np.empty(len(self._sources), dtype=np.int64)
        for source, share in enumerate(self.shares):
            self._ranks[self._sources == source] = np.arange(share)

    @property
    def period(self) -> int:
        return len(self._sources)

    def __call__(self, samples: Numbers) -> tuple[Numbers, Numbers]:
        round_, place = np.divmod(samples, self.period)
        sources = self._sources[place].astype(np.int64)
        return sources, round_ * self.shares[sources] + self._ranks[place]

    def longest(self, sizes: Sequence[int]) -> int:
        """How many samples there are before a source of such a size repeats."""
        whole = zip(sizes, self.shares.tolist(), strict=True)
        return int(min(size * self.period // share for size, share in whole))


class _Mixed(Dataset[Any]):
    """What mixtures for training and validation share."""

    draws_random_numbers = False

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.schedule = _Schedule([source.weight for source in sources])
        self._sizes = np.array([len(source.dataset) for source in sources], dtype=np.int64)

    @property
    def tokenizer(self) -> Any:
        """Of the first source that has one."""
        tokenizers = (source.dataset.tokenizer for source in self.sources)
        return next((tokenizer for tokenizer in tokenizers if tokenizer is not None), None)

    @property
    def chat_template(self) -> Any:
        """Of the first source that has one."""
        templates = (getattr(source.dataset, "chat_template", None) for source in self.sources)
        return next((template for template in templates if template is not None), None)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the sources' content and weights."""
        parts = [f"{each.dataset.fingerprint} {each.weight!r}" for each in self.sources]
        return cache_key("mixture", *parts)

    def _gather(self, sources: Numbers, epochs: Numbers, windows: Numbers) -> Samples:
        parts, places = [], []
        for source, epoch in sorted(set(zip(sources.tolist(), epochs.tolist(), strict=True))):
            where = np.flatnonzero((sources == source) & (epochs == epoch))
            dataset = self.sources[source].dataset
            if hasattr(dataset, "set_epoch"):
                dataset.set_epoch(epoch)
            parts.append(dataset.__getitems__(windows[where].tolist()))
            places.append(where)
        return _merged(parts, np.argsort(np.concatenate(places)))


class MixedWindows(_Mixed):
    """Training windows of several sources.

    Args:
        sources: windows of one length.
        seed: with the source's place and its epoch it decides the order of its windows.
    """

    has_own_order = True
    """Samples are meant to be read in the order of their numbers."""

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__(sources)
        self._seed = seed
        self._orders: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return _ENDLESS

    def place(self, samples: Sequence[int]) -> tuple[Numbers, Numbers, Numbers]:
        """Return source, epoch of the source and window in it, for samples by their numbers."""
        sources, numbers = self.schedule(np.asarray(samples, dtype=np.int64))
        epochs, positions = np.divmod(numbers, self._sizes[sources])
        windows = np.empty_like(positions)
        for source, epoch in set(zip(sources.tolist(), epochs.tolist(), strict=True)):
            where = np.flatnonzero((sources == source) & (epochs == epoch))
            windows[where] = self._order(source, epoch)[torch.from_numpy(positions[where])].numpy()
        return sources, epochs, windows

    def _order(self, source: int, epoch: int) -> Tensor:
        """Return an epoch's order of windows; keep the one before, since a batch may need both."""
        if (source, epoch) not in self._orders:
            self._orders.pop((source, epoch - 2), None)
            seed = seed_for("source", self._seed, source)
            size = int(self._sizes[source])
            self._orders[source, epoch] = epoch_order(size, seed, epoch)
        return self._orders[source, epoch]

    def __getitem__(self, sample: int) -> Tensor:
        """Return the tokens of a sample, int64 [≤ sequence_length + 1]."""
        return _tokens_of(self.__getitems__([sample]))

    def __getitems__(self, samples: Sequence[int]) -> Samples:
        """Return a whole batch at once."""
        return self._gather(*self.place(samples))

    @property
    def shares(self) -> list[float]:
        """Each source's share of the samples."""
        return [float(share) for share in self.schedule.shares / self.schedule.period]

    def epochs_in(self, samples: int) -> list[float]:
        """Return how often each source is gone through in so many samples."""
        parts = self.schedule.shares / self.schedule.period
        return [float(times) for times in samples * parts / self._sizes]


class MixedValidation(_Mixed):
    """Validation windows of several sources, in the proportions of the mixture, none twice.

    The source that is used up first is read whole; of the others evenly spaced windows.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(sources)
        self._count = self.schedule.longest(self._sizes.tolist())
        last, numbers = self.schedule(np.arange(self._count))
        self._taken = np.ones(len(self.sources), dtype=np.int64)
        np.maximum.at(self._taken, last, numbers + 1)

    @property
    def source_paths(self) -> list[str]:
        """The path of each source, as the configuration has it."""
        return [source.name for source in self.sources]

    def sources_of(self, samples: Tensor) -> Tensor:
        """Return the place of each sample's source in `source_paths`."""
        return torch.from_numpy(self.schedule(samples.numpy())[0])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, sample: int) -> Tensor:
        """Return the tokens of a sample, int64 [≤ sequence_length + 1]."""
        if not 0 <= sample < self._count:
            raise IndexError(f"window {sample} of {self._count}")
        return _tokens_of(self.__getitems__([sample]))

    def __getitems__(self, samples: Sequence[int]) -> Samples:
        """Return a whole batch at once."""
        sources, numbers = self.schedule(np.asarray(samples, dtype=np.int64))
        windows = numbers * self._sizes[sources] // self._taken[sources]
        return self._gather(sources, np.zeros_like(sources), windows)


def _tokens_of(samples: Samples) -> Tensor:
    if isinstance(samples, Tensor):
        return samples[0]
    return samples.tokens[0][samples.tokens[0] != IGNORED]


def _merged(parts: Sequence[Any], order: Numbers) -> Samples:
    """One batch of several, its samples in another order."""
    first = parts[0]
    if all(isinstance(part, Tensor) and part.shape[1] == first.shape[1] for part in parts):
        return torch.cat(list(parts))[torch.from_numpy(order)]
    rows = [_labelled(part) for part in parts]
    width = max(part.tokens.shape[1] for part in rows)
    has_positions = any(part.positions is not None for part in rows)
    return LabelledRows(
        _stacked([part.tokens for part in rows], width, IGNORED, order),
        _stacked([part.labels for part in rows], width, IGNORED, order),
        _stacked([_positions(part) for part in rows], width, 0, order) if has_positions else None,
    )


def _labelled(part: Any) -> LabelledRows:
    if isinstance(part, LabelledRows):
        return part
    tokens = torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True, padding_value=IGNORED)
    return LabelledRows(tokens, tokens)


def _positions(part: LabelledRows) -> Tensor:
    if part.positions is not None:
        return part.positions
    counted = torch.arange(part.tokens.shape[1]).expand_as(part.tokens)
    return counted.masked_fill(part.tokens == IGNORED, 0)


def _stacked(parts: Sequence[Tensor], width: int, padding: int, order: Numbers) -> Tensor:
    rows = [
        torch.nn.functional.pad(part, (0, width - part.shape[1]), value=padding) for part in parts
    ]
    return torch.cat(rows)[torch.from_numpy(order)]
