"""Datasets of windows that hold whole conversations, with labels where the assistant wrote.

A conversation begins at a window's or another conversation's end and is never divided. One that is
longer than a window loses its end, and one with nothing left to train on is left out; `fitted` says
how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from app.training.batches import IGNORED, LabelledRows
from app.training.data.arrays import TokenArray
from app.training.data.packing import Indices, best_fit, one_by_one
from app.training.tokenizer import Tokenizer


@dataclass(frozen=True)
class Conversations:
    """Tokenized conversations on disk, one after the other."""

    tokens: TokenArray
    marks: TokenArray
    """A bit for each token, whether it is trained on; each conversation begins in a byte of its
    own."""
    lengths: Indices
    """Tokens of each conversation."""
    first_trained: Indices
    """The index of the first token of each, from 1 on, that is trained on; its length if none."""

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> Indices:
        """Where each begins in `tokens`."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def mark_starts(self) -> Indices:
        """Where the bits of each begin in `marks`, in bytes."""
        sizes = (self.lengths + 7) // 8
        return np.cumsum(sizes) - sizes

    def ids(self, index: int, longest: int) -> npt.NDArray[np.int64]:
        """Return the first `longest` ids of a conversation."""
        start = self.starts[index]
        stop = start + min(self.lengths[index], longest)
        return np.asarray(self.tokens.ids[start:stop], dtype=np.int64)

    def trained(self, index: int, count: int) -> npt.NDArray[np.bool_]:
        """Which of the first `count` ids of a conversation are trained on."""
        start = self.mark_starts[index]
        bits = self.marks.ids[start : start + (count + 7) // 8]
        return np.unpackbits(bits, count=count).view(np.bool_)


@dataclass(frozen=True, slots=True)
class Fit:
    """Which conversations of a part of the data fit into windows."""

    used: Indices
    """Their indices."""
    lengths: Indices
    """Their tokens, those beyond a window left out."""
    cut: int
    """How many of them lose their end."""
    lost: int
    """Tokens that are lost so."""
    empty: int
    """Conversations that are left out: nothing of them is trained on."""


def fitted(conversations: Conversations, indices: Indices, longest: int) -> Fit:
    """Return what windows of `longest` tokens take of the conversations with these indices."""
    lengths = conversations.lengths[indices]
    kept = np.minimum(lengths, longest)
    usable = conversations.first_trained[indices] < kept
    cut = usable & (lengths > longest)
    lost = int((lengths - kept)[cut].sum())
    return Fit(indices[usable], kept[usable], int(cut.sum()), lost, int((~usable).sum()))


class ConversationWindows(Dataset[Tensor]):
    """Windows of up to `sequence_length + 1` tokens, the same in every epoch.

    Args:
        fit: the conversations to be put into them.
        pack: whether several may share a window.
        attend_across: whether a conversation sees those before it in its window.
    """

    draws_random_numbers = False

    def __init__(
        self,
        conversations: Conversations,
        fit: Fit,
        sequence_length: int,
        *,
        pack: bool,
        attend_across: bool,
        tokenizer: Tokenizer | None,
        fingerprint: str,
        chat_template: dict[str, Any] | None = None,
    ) -> None:
        self.conversations, self.fit = conversations, fit
        self.sequence_length = sequence_length
        self.tokenizer, self.fingerprint = tokenizer, fingerprint
        self.chat_template = chat_template
        self._is_packed = pack
        self._has_positions = pack and not attend_across
        longest = sequence_length + 1
        self.packing = best_fit(fit.lengths, longest) if pack else one_by_one(len(fit.used))

    def __len__(self) -> int:
        return len(self.packing)

    def __getitem__(self, index: int) -> Tensor:
        """Return the tokens of window `index`, int64 [≤ sequence_length + 1]."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        rows = self.__getitems__([index])
        return rows.tokens[0][rows.tokens[0] != IGNORED]

    def __getitems__(self, indices: Sequence[int]) -> LabelledRows:
        """Return a batch; packed windows are all as wide as a window can be."""
        windows = [self.packing.window(index) for index in indices]
        width = self.sequence_length + 1
        if not self._is_packed:
            width = max(int(self.fit.lengths[window].sum()) for window in windows)
        tokens = np.full((len(windows), width), IGNORED, dtype=np.int64)
        labels, positions = tokens.copy(), np.zeros_like(tokens)
        for row, window in enumerate(windows):
            self._fill(window, tokens[row], labels[row], positions[row])
        return LabelledRows(
            torch.from_numpy(tokens),
            torch.from_numpy(labels),
            torch.from_numpy(positions) if self._has_positions else None,
        )

    def _fill(self, window: Indices, tokens: Indices, labels: Indices, positions: Indices) -> None:
        start = 0
        for member in window.tolist():
            index, count = int(self.fit.used[member]), int(self.fit.lengths[member])
            ids = self.conversations.ids(index, count)
            part = slice(start, start := start + count)
            tokens[part] = ids
            labels[part] = np.where(self.conversations.trained(index, count), ids, IGNORED)
            positions[part] = np.arange(count)
