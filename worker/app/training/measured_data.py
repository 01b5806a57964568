"""The loss of a trained model on any data: what `training-engine evaluate` measures.

The ids are passed in windows of the model's context. With a stride shorter than that, windows
overlap, and each id is predicted from more of what is before it: the sliding window of Hugging
Face's page on perplexity. Every id but the first is predicted exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.training.config import DataConfig
from app.training.data.conversation_loading import require_no_conversations
from app.training.data.sources import corpus_at
from app.training.data.tokenizing import tokenize
from app.training.home import expanded
from app.training.inference import LoadedModel
from app.training.metrics import compute_perplexity
from app.training.token_bytes import bytes_of_ids
from app.training.tokenizer_protocol import Ids
from app.transformer.model import IGNORED_LABEL

_ROWS = 8
"""Windows that are passed together."""


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


class Window(NamedTuple):
    """A part of the ids, and where in it those begin that no window before has predicted."""

    start: int
    stop: int
    first_target: int


def measure_data(
    loaded: LoadedModel,
    path: str | Path,
    *,
    stride: int | None = None,
    context: int | None = None,
) -> DataLoss:
    """Return the loss of a model on data, which is read as a run reads it for validation.

    Where the tokenizer has an end of text, the first document stands behind one, as all others do.

    Args:
        path: text, records or ids: what `dataset_path` takes, but no conversations.
        stride: in [1, `context`]; None is the whole context, so that windows do not overlap.
        context: in [1, the model's positions]; None is all of them.

    Raises:
        DataError, TokenizerError: The data cannot be read.
        ValueError: `stride` or `context` is out of range.
    """
    config = replace(
        loaded.config, data=DataConfig(document_separator=loaded.config.data.document_separator)
    )
    corpus = corpus_at(Path(path), config, "train").corpus
    require_no_conversations(corpus, config, expanded(path))
    data = tokenize(expanded(path), corpus, config, loaded.tokenizer)
    ids = np.asarray(data.tokens.ids).astype(np.int64)
    end = None if data.tokenizer is None else data.tokenizer.end_of_text_id
    if end is not None:
        ids = np.concatenate(([end], ids))
    return measure_ids(replace(loaded, tokenizer=data.tokenizer), ids, stride, context)


def measure_ids(
    loaded: LoadedModel, ids: Ids, stride: int | None = None, context: int | None = None
) -> DataLoss:
    """Return the loss of a model on ids; see `measure_data`."""
    longest = loaded.model.config.max_position_embeddings
    context = longest if context is None else context
    stride = context if stride is None else stride
    _require("context", context, longest)
    _require("stride", stride, context)
    if len(ids) < 2:
        raise ValueError(f"the data has {len(ids)} ids; at least 2 are needed to predict one")
    total = 0.0
    for batch in _batches(windows(len(ids), context, stride)):
        total += _summed_loss(loaded, ids, batch)
    tokens = len(ids) - 1
    size = 0 if loaded.tokenizer is None else int(bytes_of_ids(loaded.tokenizer)[ids[1:]].sum())
    loss = total / tokens
    bits = total / math.log(2) / size if size else None
    return DataLoss(loss, compute_perplexity(loss), bits, tokens, context, stride)


def windows(count: int, context: int, stride: int) -> Iterator[Window]:
    """Divide `count` ids; a window has one id more than the model sees, which it predicts."""
    done = 1
    for start in range(0, count, stride):
        stop = min(start + context + 1, count)
        yield Window(start, stop, done - start)
        done = stop
        if stop == count:
            return


def _batches(found: Iterator[Window]) -> Iterator[list[Window]]:
    """Group windows of one length."""
    for _, group in groupby(found, lambda window: window.stop - window.start):
        while rows := list(islice(group, _ROWS)):
            yield rows


@torch.no_grad()
def _summed_loss(loaded: LoadedModel, ids: Ids, batch: list[Window]) -> float:
    rows = torch.from_numpy(np.stack([ids[window.start : window.stop] for window in batch]))
    labels = rows[:, 1:].clone()
    for row, window in zip(labels, batch, strict=True):
        row[: window.first_target - 1] = IGNORED_LABEL
    device = next(loaded.model.parameters()).device
    _, loss = loaded.model(rows[:, :-1].to(device), labels.to(device), reduction="sum")
    assert isinstance(loss, Tensor)
    return float(loss)


def _require(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"`{name}` is {value}; it must be at least 1 and at most {most}")
