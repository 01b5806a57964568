"""The order in which samples are visited, as a pure function of (seed, epoch).

An epoch visits every sample once. The state of the order is two integers, (epoch, position), so a
resumed run continues in the middle of an epoch without replaying or skipping a sample.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

_STATE_VERSION = 1
_FIXED = {
    "num_samples": "the number of the training data's windows",
    "seed": "`seed`",
    "shuffle": "`shuffle`",
}
"""What an order of the data is made with, and how messages call it."""
_STATE_KEYS = {"version", "epoch", "position", "num_samples", "seed", "shuffle"}


class SamplerStateError(ValueError):
    """A saved data position does not belong to this data order."""


def seed_for(*parts: int | str) -> int:
    """Mix `parts` into a seed of 63 bits.

    Hashing keeps neighbouring (seed, epoch) pairs apart: seeds 1 and 2 share no epoch, which
    `seed + epoch` would not give.
    """
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def epoch_order(num_samples: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the permutation of `range(num_samples)` for an epoch, without touching global RNGs.

    Costs 4 bytes a sample (8 beyond 2^31 samples): 10 million windows are 40 MB.
    """
    generator = torch.Generator().manual_seed(seed_for("order", seed, epoch))
    dtype = torch.int32 if num_samples < 2**31 else torch.int64
    return torch.randperm(num_samples, generator=generator, dtype=dtype)


class BatchSampler:
    """Endless batches of sample indices, epoch after epoch.

    With several processes each takes its contiguous share of every global batch, which has
    `batch_size * world_size` samples; all of them hold the same (epoch, position), counted in
    samples of the whole job, so a checkpoint fits any number of processes. The last batch of an
    epoch may be smaller. Its samples are dealt out evenly; if it has fewer samples than there are
    processes, it is left out, since a process without a sample would stall the others.

    Args:
        num_samples: length of the dataset, the same in every epoch; at least 1.
        batch_size: samples per batch of one process (a micro-batch); at least 1.
        seed: with the epoch it decides the order.
        shuffle: False visits the samples in their own order, for validation.
        rank: index of this process, 0 ≤ rank < world_size.
        world_size: number of processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _require(num_samples >= 1, "num_samples", num_samples, ">= 1", "is the dataset empty?")
        _require(batch_size >= 1, "batch_size", batch_size, ">= 1", "try 8")
        _require(world_size >= 1, "world_size", world_size, ">= 1", "use 1 for one process")
        _require(
            0 <= rank < world_size, "rank", rank, f"in [0, {world_size})", "see torch.distributed"
        )
        _require(
            num_samples >= world_size,
            "num_samples",
            num_samples,
            f">= world_size ({world_size})",
            "use fewer processes or more data",
        )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self._epoch = 0
        self._position = 0
        self._order: tuple[int, torch.Tensor] | None = None

    @property
    def epoch(self) -> int:
        """Epoch of the *next* batch, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """Samples of this epoch that all processes together have taken so far."""
        return self._position

    @property
    def span(self) -> int:
        """Samples that all processes together take in the next batch."""
        return self._batch_span(self._position)

    @property
    def global_batch_size(self) -> int:
        """Samples of all processes in one full batch."""
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        """Batches in an epoch that is taken from its start."""
        full, rest = divmod(self.num_samples, self.global_batch_size)
        return full + (rest >= self.world_size)

    def next_batch(self) -> torch.Tensor:
        """Return this process's next indices (int64 [≤ batch_size]) and advance past them.

        The batch belongs to the epoch that `epoch` named before the call; after an epoch's last
        batch `epoch` and `position` already name the first batch of the next.
        """
        batch = self.batch_at(self._epoch, self._position)
        self.advance()
        return batch

    def advance(self) -> None:
        """Count one batch as taken, without looking at it (its indices were prefetched)."""
        self._position += self._batch_span(self._position)
        if self.num_samples - self._position < self.world_size:
            self._epoch, self._position = self._epoch + 1, 0

    def batch_at(self, epoch: int, position: int) -> torch.Tensor:
        """Return this process's indices at a place in the order, leaving the state alone."""
        span = self._batch_span(position)
        first = position + self.rank * span // self.world_size
        last = position + (self.rank + 1) * span // self.world_size
        if not self.shuffle:
            return torch.arange(first, last)
        return self._order_of(epoch)[first:last].long()

    def state_dict(self) -> dict[str, Any]:
        """Return the position and what it is a position in; plain numbers only."""
        return {
            "version": _STATE_VERSION,
            "epoch": self._epoch,
            "position": self._position,
            "num_samples": self.num_samples,
            "seed": self.seed,
            "shuffle": self.shuffle,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position.

        Raises:
            SamplerStateError: the state has another version or unknown keys, or belongs to
                another dataset length, seed or shuffling. Nothing is changed then.
        """
        if state.get("version") != _STATE_VERSION or set(state) != _STATE_KEYS:
            raise SamplerStateError(
                f"the data position has version {state.get('version')!r} and keys "
                f"{sorted(map(str, state))}; this release reads version {_STATE_VERSION} with "
                f"{sorted(_STATE_KEYS)}; resume with the release that wrote the checkpoint"
            )
        for name, said in _FIXED.items():
            if state[name] != getattr(self, name):
                raise SamplerStateError(
                    f"{said} is {getattr(self, name)!r}, but the checkpoint's data order was "
                    f"made with {state[name]!r}; it must be the same to continue mid-epoch; resume "
                    "with the same data, sequence_length and seed, or start a new run"
                )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position < self.num_samples:
            raise SamplerStateError(
                f"the data position is epoch {epoch}, sample {position}; it must be in "
                f"[0, {self.num_samples}); the checkpoint is damaged, resume from an older one"
            )
        self._epoch, self._position = epoch, position
        if self.num_samples - position < self.world_size:
            # Saved by a job with fewer processes; too few samples are left to give each one.
            self._epoch, self._position = epoch + 1, 0

    def begin(self) -> None:
        """Go to the first batch of the first epoch."""
        self._epoch, self._position = 0, 0

    def _batch_span(self, position: int) -> int:
        """Sample of all processes together in the batch that starts at `position`."""
        return min(self.global_batch_size, self.num_samples - position)

    def _order_of(self, epoch: int) -> torch.Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self.num_samples, self.seed, epoch))
        return self._order[1]


def _require(holds: bool, name: str, value: int, rule: str, remedy: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` is {value}; it must be {rule}; {remedy}")
