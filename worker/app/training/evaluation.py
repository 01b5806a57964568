"""The loss over validation data, leaving no trace in the training that it interrupts.

An evaluation passes `eval_batches` micro-batches, evenly spaced over the validation set and always
the same ones, so that evaluations of a run compare, whatever stopped it in between and however
many processes share the batches. The last evaluation passes them first and then all others.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from app.training.averaging import AveragedWeights
from app.training.batches import IGNORED, Batch, SampleReader, validation_batches
from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.metrics import compute_perplexity
from app.training.precision import autocast
from app.training.rng import isolated
from app.training.source_losses import SourceLosses
from app.training.source_names import loss_names
from app.training.token_bytes import bytes_of_ids
from app.training.tokenizer import Tokenizer
from app.training.validation_samples import PromptSample

logger = logging.getLogger(__name__)

_LINE_SECONDS = 10.0
"""Between two lines of the log about an evaluation that takes long."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of an evaluation.

    They are `val_loss`, the mean over all tokens in nats, `val_perplexity`, `val_bits_per_byte`
    where the tokenizer is known, and `val_loss/NAME` for each source of a mixture.
    """

    metrics: dict[str, float]
    """Of everything that it passed."""
    compared: dict[str, float]
    """Of the batches that every evaluation of the run passes: what decides which is the best."""
    samples: tuple[PromptSample, ...] = ()
    """What the model made of `sample_prompts`."""

    def with_average(self, averaged: Evaluation) -> Evaluation:
        """Add the loss of the averaged weights, as `ema_val_loss`."""
        return Evaluation(
            self.metrics | {"ema_val_loss": averaged.metrics["val_loss"]},
            self.compared | {"ema_val_loss": averaged.compared["val_loss"]},
        )


class Evaluator:
    """Evaluates a model on a validation set.

    Args:
        forward: the model, possibly compiled.
        model: the plain module, to be switched to evaluation and back.
        tokenizer: of the data, to count its bytes; None for ids of unknown origin.
        average: of the weights, to be evaluated after them; None where the run keeps none.
    """

    def __init__(
        self,
        forward: Any,
        model: nn.Module,
        reader: SampleReader,
        config: TrainingConfig,
        ranks: Ranks,
        tokenizer: Tokenizer | None = None,
        average: AveragedWeights | None = None,
    ) -> None:
        self._forward, self._model, self._reader = forward, model, reader
        self._config, self._ranks = config, ranks
        self._tokenizer = tokenizer
        self._average = average
        self._loss_names = loss_names(reader.source_paths)
        self._batches_of_set = -(-len(reader) // config.batch_size)

    def batch_count(self, *, last: bool) -> int:
        """Micro-batches that an evaluation passes, over all processes; twice with an average."""
        return self._batches_of_pass(last=last) * (1 if self._average is None else 2)

    def _batches_of_pass(self, *, last: bool) -> int:
        return self._batches_of_set if last and self._config.full_final_eval else self._limit

    @property
    def _limit(self) -> int:
        limit = self._config.eval_batches or self._batches_of_set
        return min(limit, self._batches_of_set)

    def run(
        self,
        *,
        last: bool,
        interrupted: Callable[[], bool],
        on_progress: Callable[[int, int], object],
    ) -> Evaluation | None:
        """Evaluate the model as it is now, and then the average of its weights.

        `on_progress` is called with the batches done and in total. Returns None if `interrupted`
        returns True before the end, in all processes at the same batch.
        """
        total, places = self.batch_count(last=last), self._places(last=last)

        def evaluate(before: int) -> Evaluation | None:
            return self._pass(
                places, interrupted, lambda done, _: on_progress(before + done, total)
            )

        was_training = self._model.training
        self._model.eval()
        try:
            with isolated(), torch.no_grad():
                evaluation = evaluate(0)
            if evaluation is None or self._average is None:
                return evaluation
            with self._average.in_place(), isolated(), torch.no_grad():
                averaged = evaluate(len(places))
            return averaged and evaluation.with_average(averaged)
        finally:
            self._model.train(was_training)

    def _places(self, *, last: bool) -> list[int]:
        """Return indices of the micro-batches to pass; those of every evaluation come first."""
        count = self._batches_of_set
        always = [i * count // self._limit for i in range(self._limit)]
        if self._batches_of_pass(last=last) == len(always):
            return always
        passed = set(always)
        return always + [place for place in range(count) if place not in passed]

    def _pass(
        self,
        places: list[int],
        interrupted: Callable[[], bool],
        on_progress: Callable[[int, int], object],
    ) -> Evaluation | None:
        device, ranks = self._ranks.device, self._ranks
        # On the device and in double precision: one wait at the end, whatever the number of
        # batches. The first sum is of the batches of every evaluation, the second of the others.
        sums = torch.zeros(2, device=device, dtype=_accumulator_type(device))
        of_sources = SourceLosses(self._loss_names, ranks, sums.dtype)
        tokens, sizes = [0, 0], [0, 0]
        done, said_at = 0, time.monotonic()
        on_progress(done, len(places))
        for batch, counts in validation_batches(
            self._reader, self._config.batch_size, ranks, places
        ):
            if interrupted():
                return None
            moved = batch.to(device)
            with autocast(device, self._config.mixed_precision):
                logits, loss = self._forward(
                    moved.inputs, moved.labels, reduction="sum", positions=moved.positions
                )
            if counts:
                part = int(done + ranks.rank >= self._limit)
                sums[part] += loss
                tokens[part] += batch.tokens
                sizes[part] += self._bytes_of(batch)
                of_sources.add(batch, logits)
            done = min(done + ranks.world_size, len(places))
            on_progress(done, len(places))
            if time.monotonic() - said_at >= _LINE_SECONDS:
                said_at = time.monotonic()
                logger.info("validating: %d of %d batches", done, len(places))
        ranks.sum_tensor(sums)
        always, others = sums.tolist()
        counted, more, size, more_bytes = ranks.sums(*tokens, *sizes)
        return Evaluation(
            _metrics(always + others, counted + more, size + more_bytes) | of_sources.means(),
            _metrics(always, counted, size),
        )

    def _bytes_of(self, batch: Batch) -> int:
        """Return the bytes of text in a batch's labels; 0 where they are unknown."""
        if self._byte_counts is None:
            return 0
        return int(self._byte_counts[batch.labels[batch.labels != IGNORED]].sum())

    @cached_property
    def _byte_counts(self) -> Tensor | None:
        """Bytes of text of each id of the vocabulary; None where they are unknown."""
        if self._tokenizer is None:
            return None
        counts = torch.zeros(self._config.model_config.vocab_size, dtype=torch.int64)
        sizes = torch.from_numpy(bytes_of_ids(self._tokenizer))[: len(counts)]
        counts[: len(sizes)] = sizes
        return counts


def _metrics(total: float, tokens: int, size: int) -> dict[str, float]:
    """Return the metrics of a summed loss in nats over `tokens` tokens and `size` bytes."""
    mean = total / tokens
    metrics = {"val_loss": mean, "val_perplexity": compute_perplexity(mean)}
    return metrics | ({"val_bits_per_byte": total / math.log(2) / size} if size else {})


def _accumulator_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
