"""Datasets of windows over an array of ids.

A window is `sequence_length + 1` ids: the model reads the first `sequence_length` and predicts the
last. Neighbouring windows share one id, so that every id but the first is predicted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from app.training.data.arrays import TokenArray
from app.training.fit import window_count
from app.training.sampler import seed_for
from app.training.tokenizer import Tokenizer


class _Windows(Dataset[torch.Tensor]):
    """Windows of `length` ids that start every `length - 1` ids from `_first` on."""

    draws_random_numbers = False
    """`__getitem__` needs no seeding: a sample depends on its index and the epoch alone."""

    def __init__(
        self,
        tokens: TokenArray,
        start: int,
        stop: int,
        sequence_length: int,
        *,
        tokenizer: Tokenizer | None,
        fingerprint: str,
    ) -> None:
        self.tokens = tokens
        self.start = start
        self.stop = stop
        self.sequence_length = sequence_length
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self._first = start
        self._count = 0
        self._columns = np.arange(sequence_length + 1)

    @property
    def num_tokens(self) -> int:
        """Ids in this part of the data."""
        return self.stop - self.start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return window `index` as int64 [≤ sequence_length + 1]."""
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"window {index} of {self._count}")
        first = self._first + index * self.sequence_length
        last = min(first + self.sequence_length + 1, self.stop)
        return torch.from_numpy(self.tokens.ids[first:last].astype(np.int64))

    def _gather(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        if indices.size and not 0 <= indices.min() <= indices.max() < self._count:
            raise IndexError(f"windows {indices.min()}..{indices.max()} of {self._count}")
        starts = self._first + indices * self.sequence_length
        rows = self.tokens.ids[starts[:, None] + self._columns]
        return torch.from_numpy(rows.astype(np.int64))


class TrainingWindows(_Windows):
    """Windows that cover the training data once an epoch, at an offset drawn per epoch.

    The offset moves all windows together by 0 to `sequence_length - 1` ids, so that over the
    epochs an id is seen in many contexts. `len()` is the number of windows that fit at every
    offset, the same in all epochs, which keeps (epoch, position) meaningful; at most
    `2 * sequence_length - 1` ids at the edges go unseen in an epoch. Data too short for that
    keeps its one window and a smaller range of offsets.
    """

    def __init__(self, *args: Any, seed: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed
        length = self.sequence_length
        self._count = window_count(self.num_tokens, length)
        self._offsets = min(length, self.num_tokens - self._count * length)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Move the windows to the epoch's offset, a pure function of (seed, epoch).

        A loader's worker processes hold copies: start them after this call.
        """
        self.epoch = epoch
        self._first = self.start + seed_for("offset", self.seed, epoch) % self._offsets

    def __getitems__(self, indices: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return a whole batch at once, int64 [len(indices), sequence_length + 1]."""
        return self._gather(np.asarray(indices, dtype=np.int64))


class ValidationWindows(_Windows):
    """Fixed windows that cover all of the validation data; the last one may be shorter.

    Every id but the first is predicted exactly once, so the loss weighted by tokens is the loss
    of the whole set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._count = -(-(self.num_tokens - 1) // self.sequence_length)
        rest = (self.num_tokens - 1) % self.sequence_length
        self._whole = self._count - (rest > 0)

    def __getitems__(
        self, indices: Sequence[int] | torch.Tensor
    ) -> torch.Tensor | list[torch.Tensor]:
        """Return a batch, int64 [len(indices), sequence_length + 1].

        A batch that holds the shorter last window is a list of its windows instead.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and wanted.max() >= self._whole:
            return [self[int(index)] for index in wanted]
        return self._gather(wanted)
