"""From a dataset of token sequences to micro-batches, in an exact order and with exact bits.

Samples of a dataset that draws random numbers are seeded one by one from (seed, epoch, index), so
they are the same in this process, in a loader's worker, and after a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from app.training.distributed import Ranks
from app.training.parent_signals import ending_signals_blocked, ignore_signals_except_from_parent
from app.training.rng import cpu_isolated, seed_sample
from app.training.sampler import BatchSampler

IGNORED = -100
"""Label of a position that does not count in the loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch: inputs, labels, and how many tokens count."""

    inputs: Tensor
    """int64 [samples, time]."""
    labels: Tensor
    """int64 [samples, time]: the next token at each position, or `IGNORED`."""
    tokens: int
    """Labels that count."""
    read: int
    """Inputs without padding: the tokens that the model works on."""
    positions: Tensor | None = None
    """int64 [samples, time]: the place of each input in its document, where a sample may hold
    several that do not see each other."""
    sources: Tensor | None = None
    """int64 [samples], on the host: which source of a mixture each sample of a validation is
    from; None where there is one source."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; copies from pinned memory do not wait."""
        if device.type == "cpu":
            return self
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Return the batch in memory from which copies to a GPU do not wait."""
        return self._moved(Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        positions = None if self.positions is None else move(self.positions)
        return replace(
            self, inputs=move(self.inputs), labels=move(self.labels), positions=positions
        )


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Samples of a dataset that says itself what is trained on, as one batch."""

    tokens: Tensor
    """int64 [samples, time + 1], with `IGNORED` behind the end of a shorter sample."""
    labels: Tensor
    """int64, of the same shape: each token itself where it is to be predicted, else `IGNORED`."""
    positions: Tensor | None = None
    """int64, of the same shape: places in documents, 0 in padding; see `Batch`."""

    def batch(self) -> Batch:
        """Return the micro-batch: each label moved to the input that predicts it."""
        labels, inputs = self.labels[:, 1:], self.tokens[:, :-1]
        if self.positions is not None:  # the first token of a document follows from nothing
            labels = labels.masked_fill(self.positions[:, 1:] == 0, IGNORED)
        counting = int((labels != IGNORED).sum())
        positions = None if self.positions is None else self.positions[:, :-1]
        read = int((inputs != IGNORED).sum())
        return Batch(inputs.clamp(min=0), labels, counting, read, positions)


class SampleReader:
    """Reads samples of a map-style dataset by index and makes micro-batches of them.

    A dataset that never draws random numbers says so with `draws_random_numbers = False` and
    saves the seeding. One that changes by epoch has `set_epoch(epoch)`. One that trains on some of
    its tokens only has `__getitems__(indices)`, which returns `LabelledRows`.

    Args:
        dataset: yields 1-D integer tensors of tokens.
        seed: with epoch and index it seeds each sample.
        vocab_size: tokens must be below it.
        max_length: tokens a sample may have, one more than the model's context.
    """

    def __init__(self, dataset: Any, seed: int, vocab_size: int, max_length: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._vocab_size = vocab_size
        self._max_length = max_length
        self._draws = getattr(dataset, "draws_random_numbers", True)
        self._set_epoch = getattr(dataset, "set_epoch", None)
        self._epoch: int | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, where: tuple[int, Tensor]) -> Batch:
        """Return the micro-batch of `(epoch, indices)`; the name is what torch's loader calls."""
        epoch, indices = where[0], where[1].tolist()
        if self._set_epoch is not None and epoch != self._epoch:
            self._set_epoch(epoch)
            self._epoch = epoch
        samples = self._read_seeded(epoch, indices) if self._draws else self._read(indices)
        return self._batch(samples, indices)

    @property
    def source_paths(self) -> list[str]:
        """The paths of the sources of a mixture for validation; empty for other data."""
        return list(getattr(self._dataset, "source_paths", []))

    def sources_of(self, indices: Tensor) -> Tensor | None:
        """Return which of `source_paths` each sample is from; None where there are none."""
        return self._dataset.sources_of(indices) if self.source_paths else None

    def _read(self, indices: list[int]) -> Any:
        if hasattr(self._dataset, "__getitems__"):
            return self._dataset.__getitems__(indices)
        return [self._dataset[index] for index in indices]

    def _read_seeded(self, epoch: int, indices: list[int]) -> list[Any]:
        samples = []
        with cpu_isolated():
            for index in indices:
                seed_sample(self._seed, epoch, index)
                samples.append(self._dataset[index])
        return samples

    def _batch(self, samples: Any, indices: list[int]) -> Batch:
        if isinstance(samples, LabelledRows):
            length = samples.tokens.shape[1]
            self._check(samples.tokens.clamp(min=0), length, length, indices)
            return samples.batch()
        if isinstance(samples, Tensor):
            tokens = samples.long()
            self._check(tokens, tokens.shape[1], tokens.shape[1], indices)
            counting = tokens[:, 1:].numel()
            return Batch(tokens[:, :-1], tokens[:, 1:], counting, counting)
        rows = [_as_row(sample, i) for sample, i in zip(samples, indices, strict=True)]
        shortest, longest = min(map(len, rows)), max(map(len, rows))
        self._check(torch.cat(rows), shortest, longest, indices)
        counting = sum(map(len, rows)) - len(rows)
        if shortest == longest:
            tokens = torch.stack(rows)
            return Batch(tokens[:, :-1], tokens[:, 1:], counting, counting)
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        return Batch(tokens[:, :-1].clamp(min=0), tokens[:, 1:], counting, counting)

    def _check(self, tokens: Tensor, shortest: int, longest: int, indices: list[int]) -> None:
        if shortest < 2 or longest > self._max_length:
            raise ValueError(
                f"a sample among {indices} has {shortest if shortest < 2 else longest} tokens; it "
                f"must have between 2 and sequence_length + 1 = {self._max_length}; cut the "
                "samples, or raise `sequence_length`"
            )
        low, high = (int(extreme) for extreme in torch.aminmax(tokens))
        if low < 0 or high >= self._vocab_size:
            raise ValueError(
                f"a sample among {indices} holds token {low if low < 0 else high}; tokens must be "
                f"at least 0 and below vocab_size={self._vocab_size}; raise "
                "model_config.vocab_size, or use the tokenizer that the data was made with"
            )


def _as_row(sample: Any, index: int) -> Tensor:
    try:
        row = torch.as_tensor(sample)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"sample {index} is a {type(sample).__name__}; it must be a 1-D integer tensor of "
            "tokens; return for example torch.tensor(tokens)"
        ) from None
    if row.ndim != 1 or row.is_floating_point() or row.is_complex() or row.dtype == torch.bool:
        raise ValueError(
            f"sample {index} is a tensor of {row.dtype} and shape {list(row.shape)}; it must be a "
            "1-D integer tensor of tokens; return for example torch.tensor(tokens)"
        )
    return row.long()


class BatchStream:
    """Endless micro-batches in the sampler's order; the sampler moves as they are taken.

    With `num_workers`, loader processes read ahead. A micro-batch counts once `next` returns it, so
    a checkpoint never skips one that was only read.
    """

    def __init__(
        self, reader: SampleReader, sampler: BatchSampler, num_workers: int, pin_memory: bool
    ) -> None:
        self._reader = reader
        self._sampler = sampler
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._prefetched: Iterator[Batch] | None = None

    def next(self) -> Batch:
        """Return the next micro-batch, counted as taken."""
        if self._num_workers == 0:
            epoch = self._sampler.epoch
            batch = self._reader.__getitems__((epoch, self._sampler.next_batch()))
            return batch.pinned() if self._pin_memory else batch
        if self._prefetched is None:
            with ending_signals_blocked():
                self._prefetched = iter(self._loader())
        batch = next(self._prefetched)
        self._sampler.advance()
        return batch.pinned() if self._pin_memory else batch

    def close(self) -> None:
        """End the loader's processes, if any."""
        self._prefetched = None

    def _loader(self) -> DataLoader[Batch]:
        # Its own generator: a loader otherwise draws from the one that belongs to dropout.
        generator = torch.Generator().manual_seed(0)
        return DataLoader(
            self._reader,  # type: ignore[arg-type]
            batch_sampler=_LookAhead(self._sampler),
            num_workers=self._num_workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            generator=generator,
            worker_init_fn=_begin_worker,
        )


class _LookAhead:
    """Endless batches from the sampler's position on, which leave the sampler where it is."""

    def __init__(self, sampler: BatchSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        ahead = BatchSampler(
            self._sampler.num_samples,
            self._sampler.batch_size,
            self._sampler.seed,
            self._sampler.shuffle,
            rank=self._sampler.rank,
            world_size=self._sampler.world_size,
        )
        ahead.load_state_dict(self._sampler.state_dict())
        while True:
            yield ahead.epoch, ahead.next_batch()


def _begin_worker(number: int) -> None:
    """Ignore signals to the whole run: its last steps still read from this process."""
    ignore_signals_except_from_parent()


def _as_it_is(batch: Batch) -> Batch:
    return batch


def sample_count(dataset: Any, name: str) -> int:
    """Return the length of a dataset.

    Raises:
        ValueError: The dataset has no length or is empty.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise ValueError(
            f"`{name}` is a {type(dataset).__name__} without a length; it must be a map-style "
            "Dataset with __len__ and __getitem__, so that a run can be resumed exactly"
        ) from None
    if count < 1:
        raise ValueError(f"`{name}` is empty; it must hold at least 1 sample; check its source")
    return count


def validation_batches(
    reader: SampleReader, batch_size: int, ranks: Ranks, places: Sequence[int]
) -> Iterator[tuple[Batch, bool]]:
    """Yield this process's share of the micro-batches at `places`, in that order.

    The micro-batch at place i has `batch_size` samples from `i * batch_size` on, the last one of
    the set perhaps fewer. Each comes with whether it counts: a sharded model's processes must all
    pass equally many, so one that has none left passes the first again.
    """
    for first in range(0, len(places), ranks.world_size):
        index = first + ranks.rank
        counts = index < len(places)
        start = places[index if counts else 0] * batch_size
        indices = torch.arange(start, min(start + batch_size, len(reader)))
        batch = reader.__getitems__((0, indices))
        yield replace(batch, sources=reader.sources_of(indices)), counts
