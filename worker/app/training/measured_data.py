"""The loss of a trained model on any data: what `training-engine evaluate` measures.

The ids are passed in windows of the model's context. With a stride shorter than that, windows
overlap, and each id is predicted from more of what is before it: the sliding window of Hugging
Face's page on perplexity. Every id but the first is predicted exactly once. Documents follow each
other in the windows, or each has windows of its own, as in the tasks of `lm_eval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.training.config import DataConfig, TrainingConfig
from app.training.cores import YieldingThreads
from app.training.data.errors import ColumnsError, DataError
from app.training.data.sources import Corpus, corpus_at
from app.training.data.tokenizing import tokenize
from app.training.home import expanded
from app.training.inference import LoadedModel
from app.training.metrics import compute_perplexity
from app.training.token_bytes import bytes_of_ids
from app.training.tokenizer_protocol import Ids
from app.transformer.model import IGNORED_LABEL

_ROWS = 8
"""Windows that are passed together at most."""
_SCANNED = 1 << 20
"""Ids that are searched at once for the ends of documents."""
_LOGITS = 1 << 25
"""Numbers that the model gives at once: a large vocabulary takes fewer windows."""

Progress = Callable[[int, int], object]
"""Called with the tokens that were predicted so far, and those of all the data."""


def _unheard(done: int, total: int) -> None:
    """Do nothing: progress is not asked for."""


@dataclass(frozen=True, slots=True)
class DataLoss:
    """How well a model predicts data."""

    loss: float
    """Mean cross-entropy over the tokens, nats."""
    perplexity: float
    """`exp(loss)`."""
    bits_per_byte: float | None
    """The loss in bits for each byte of text; None where the bytes of an id are not known."""
    tokens: int
    """Ids that were predicted."""
    context: int
    """Ids that a window shows the model at most."""
    stride: int
    """Ids from the beginning of a window to that of the next."""


class WindowError(ValueError):
    """The windows cannot be as asked for.

    Attributes:
        field: `stride`, `context` or `separate_documents`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class IdSequence:
    """Ids that may be larger than the memory, and an id before the first of them."""

    ids: Ids
    first: int | None = None

    def __len__(self) -> int:
        return len(self.ids) + (self.first is not None)

    def part(self, start: int, stop: int) -> Ids:
        """Return ids from `start` to before `stop`, int64."""
        if self.first is None:
            return self.ids[start:stop].astype(np.int64)
        rest = self.ids[max(start - 1, 0) : stop - 1].astype(np.int64)
        return np.concatenate(([self.first], rest)) if start == 0 else rest


class Window(NamedTuple):
    """A part of the ids, and where in it those begin that no window before has predicted."""

    start: int
    stop: int
    first_target: int


class Row(NamedTuple):
    """The ids of a window, and where in them those begin that it predicts."""

    ids: Ids
    first_target: int


def measure_data(
    loaded: LoadedModel,
    path: str | Path,
    *,
    stride: int | None = None,
    context: int | None = None,
    separate_documents: bool = False,
    on_progress: Progress = _unheard,
) -> DataLoss:
    """Return the loss of a model on data, which is read as a run reads it for validation.

    Where the tokenizer has an end of text, the first document stands behind one, as all others do.

    Args:
        path: text, records or ids: what `dataset_path` takes, but no conversations.
        stride: in [1, `context`]; None is the whole context, so that windows do not overlap.
        context: in [1, the model's positions]; None is all of them.
        separate_documents: give each document windows of its own, which begin behind an end of
            text. Its last window reaches back over the whole context, as that of `lm_eval`.
        on_progress: may raise to end the measuring.

    Raises:
        DataError, TokenizerError: The data cannot be read.
        WindowError: `stride` or `context` is out of range, or documents have no ends.
    """
    stride, context = _checked(loaded, stride, context)
    config = replace(
        loaded.config, data=DataConfig(document_separator=loaded.config.data.document_separator)
    )
    corpus = _corpus(Path(path), config)
    _require_measurable(corpus, loaded, path)
    data = tokenize(expanded(path), corpus, config, loaded.tokenizer)
    end = None if data.tokenizer is None else data.tokenizer.end_of_text_id
    loaded = replace(loaded, tokenizer=data.tokenizer)
    if separate_documents:
        return measure_documents(loaded, data.tokens.ids, stride, context, on_progress)
    ids = IdSequence(data.tokens.ids, end)
    if len(ids) < 2:
        raise DataError(f"{str(path)!r} holds one token; there must be two or more; add text")
    return measure_ids(loaded, ids, stride, context, on_progress)


def _corpus(path: Path, config: TrainingConfig) -> Corpus:
    """Return the data; nobody who measures can set `text_column`, so the remedy is another one."""
    try:
        return corpus_at(path, config, "train").corpus
    except ColumnsError as error:
        raise DataError(
            f"{error.found}; rename the column that holds the text to `{config.text_column}`, "
            "the `text_column` of the model's run"
        ) from error


def _require_measurable(corpus: Corpus, loaded: LoadedModel, path: str | Path) -> None:
    if corpus.content == "conversation":
        raise DataError(
            f"{str(path)!r} holds conversations; a loss is measured on text or ids; name such data"
        )
    is_array = [file.form for file in corpus.files] == ["array"]
    if loaded.tokenizer is None and corpus.content == "text" and not is_array:
        raise DataError(
            f"{str(path)!r} holds text, and the checkpoint has no tokenizer, since its model was "
            "trained on ids of unknown origin; name data of ids"
        )


def measure_ids(
    loaded: LoadedModel,
    ids: IdSequence,
    stride: int | None = None,
    context: int | None = None,
    on_progress: Progress = _unheard,
) -> DataLoss:
    """Return the loss of a model on two ids or more; see `measure_data`."""
    stride, context = _checked(loaded, stride, context)
    rows = _rows(ids, windows(len(ids), context, stride))
    return _measured(loaded, rows, len(ids) - 1, (context, stride), on_progress)


def measure_documents(
    loaded: LoadedModel,
    ids: Ids,
    stride: int | None = None,
    context: int | None = None,
    on_progress: Progress = _unheard,
) -> DataLoss:
    """Return the loss on documents that end with an end of text, each alone; see `measure_data`."""
    stride, context = _checked(loaded, stride, context)
    end = None if loaded.tokenizer is None else loaded.tokenizer.end_of_text_id
    if end is None:
        raise WindowError(
            "separate_documents",
            "`separate_documents` is true, and the tokenizer of the data has no end of text, which "
            "has to be before each document; leave it out",
        )
    tokens = sum(stop - start for start, stop in _documents(ids, end))
    if not tokens:
        raise DataError("the data hold no tokens besides ends of text; add text")
    parts = (IdSequence(ids[start:stop], end) for start, stop in _documents(ids, end))
    rows = (
        row
        for part in parts
        for row in _rows(part, windows(len(part), context, stride, reaches_back=True))
    )
    return _measured(loaded, rows, tokens, (context, stride), on_progress)


def _documents(ids: Ids, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each document begins, and where it ends; those without an id are left out."""
    start = 0
    for block in range(0, len(ids), _SCANNED):
        for place in np.flatnonzero(ids[block : block + _SCANNED] == end).tolist():
            if start < block + place:
                yield start, block + place
            start = block + place + 1
    if start < len(ids):
        yield start, len(ids)


def _rows(ids: IdSequence, found: Iterator[Window]) -> Iterator[Row]:
    return (Row(ids.part(each.start, each.stop), each.first_target) for each in found)


def _measured(
    loaded: LoadedModel,
    rows: Iterator[Row],
    tokens: int,
    shape: tuple[int, int],
    on_progress: Progress,
) -> DataLoss:
    """Return the loss on windows of this context and stride that predict so many tokens."""
    context, stride = shape
    sizes = None if loaded.tokenizer is None else bytes_of_ids(loaded.tokenizer)
    total, size, done = 0.0, 0, 0
    on_progress(done, tokens)
    most = max(1, min(_ROWS, _LOGITS // (context * loaded.model.config.vocab_size)))
    with YieldingThreads() as threads:
        while batch := list(islice(rows, most)):
            inputs, labels = _inputs_and_labels(batch)
            total += _summed_loss(loaded, inputs, labels)
            counted = labels[labels != IGNORED_LABEL]
            size += 0 if sizes is None else int(sizes[counted].sum())
            done += len(counted)
            on_progress(done, tokens)
            threads.check()
    loss = total / tokens
    bits = total / math.log(2) / size if size else None
    return DataLoss(loss, compute_perplexity(loss), bits, tokens, context, stride)


def windows(
    count: int, context: int, stride: int, *, reaches_back: bool = False
) -> Iterator[Window]:
    """Divide `count` ids; a window has one id more than the model sees, which it predicts.

    The last one is shorter where the ids end, or `reaches_back` to be as long as the others.
    """
    done = 1
    for start in range(0, count, stride):
        stop = min(start + context + 1, count)
        first = max(stop - context - 1, 0) if reaches_back else start
        yield Window(first, stop, done - first)
        done = stop
        if stop == count:
            return


def _inputs_and_labels(batch: list[Row]) -> tuple[Ids, Ids]:
    """Return the rows below each other; behind a short one nothing is predicted."""
    shape = len(batch), max(len(row.ids) for row in batch) - 1
    inputs, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED_LABEL, np.int64)
    for number, (ids, first) in enumerate(batch):
        inputs[number, : len(ids) - 1] = ids[:-1]
        labels[number, first - 1 : len(ids) - 1] = ids[first:]
    return inputs, labels


@torch.no_grad()
def _summed_loss(loaded: LoadedModel, inputs: Ids, labels: Ids) -> float:
    device = next(loaded.model.parameters()).device
    moved = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (inputs, labels)]
    _, loss = loaded.model(*moved, reduction="sum")
    assert isinstance(loss, Tensor)
    return float(loss)


def _checked(loaded: LoadedModel, stride: int | None, context: int | None) -> tuple[int, int]:
    """Return stride and context with their defaults; raise `WindowError` out of range."""
    longest = loaded.model.config.max_position_embeddings
    context = longest if context is None else context
    stride = context if stride is None else stride
    _require("context", context, longest)
    _require("stride", stride, context)
    return stride, context


def _require(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise WindowError(name, f"`{name}` is {value}; it must be at least 1 and at most {most}")
