"""The validation loss of each source of a mixture, as the metrics `val_loss/NAME`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.training.batches import IGNORED, Batch
from app.training.distributed import Ranks


class SourceLosses:
    """Sums the losses of each source over the batches of an evaluation.

    Args:
        names: of the sources, see `source_names`; an empty list for data of one source.
        dtype: of the sums.
    """

    def __init__(self, names: Sequence[str], ranks: Ranks, dtype: torch.dtype) -> None:
        self._names, self._ranks = names, ranks
        self._sums = torch.zeros(len(names), device=ranks.device, dtype=dtype)
        self._tokens = torch.zeros(len(names), dtype=torch.int64)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Add a batch, with the model's logits for it, to the sums of its samples' sources."""
        if not self._names or batch.sources is None:
            return
        counts = (batch.labels != IGNORED).sum(dim=1).cpu()
        self._tokens.index_add_(0, batch.sources, counts)
        labels = batch.labels.to(logits.device)
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        of_samples = losses.view_as(labels).sum(dim=1).to(self._sums.dtype)
        self._sums.index_add_(0, batch.sources.to(logits.device), of_samples)

    def means(self) -> dict[str, float]:
        """Return the mean loss of each source over its tokens, in nats, from all processes."""
        if not self._names:
            return {}
        self._ranks.sum_tensor(self._sums)
        tokens = self._ranks.sums(*self._tokens.tolist())
        rows = zip(self._names, self._sums.tolist(), tokens, strict=True)
        return {name: total / count for name, total, count in rows if count}
