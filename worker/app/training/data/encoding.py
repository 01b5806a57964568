"""From pieces of text to ids, on as many cores as the tokenizer can use, in the order of the text.

The ids depend on the text and the tokenizer alone: not on batches, cores or the encoder.
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.errors import DataError
from app.training.data.parts import Part
from app.training.fast_encoding import Encoder, fast_encoder
from app.training.tokenizer import PretrainedTokenizer, Tokenizer, TokenizerError

logger = logging.getLogger(__name__)

Ids = npt.NDArray[Any]
"""Integers of whatever type the encoder makes."""
Encoded = tuple[Part | None, Ids | None]
"""A part with its ids; twice None between two documents."""

BATCH_CHARACTERS: Final = 1 << 18
_FIRST_COMPARED: Final = 1 << 17
"""Characters at the beginning whose ids are all compared: 0.1 s of the slower encoder."""
_COMPARED_EVERY: Final = 1 << 24
_THEN_COMPARED: Final = 1 << 14
"""Characters that are compared after so many others."""


class UnequalIdsError(Exception):
    """The faster encoder gave other ids for a text than the tokenizer itself."""


def encode_parts(
    parts: Iterable[Part | None], tokenizer: Tokenizer, *, fast: bool = True
) -> Iterator[Encoded]:
    """Yield the parts with their ids, in order.

    Args:
        fast: whether a faster encoder may be used where there is one.

    Raises:
        DataError: the tokenizer cannot express a text; says where.
        UnequalIdsError: the faster encoder failed on a sample of this text; nothing that was
            yielded can be trusted, so begin again without it.
    """
    if not isinstance(tokenizer, PretrainedTokenizer):
        return _one_by_one(parts, tokenizer)
    found = fast_encoder(tokenizer.definition) if fast else None
    if found is not None and found.encode is not None:
        return _compared(parts, tokenizer, found.encode)
    if found is not None:
        logger.info("tokenizing with the tokenizers library alone: %s", found.reason)
    return _in_batches(parts, tokenizer)


def _one_by_one(parts: Iterable[Part | None], tokenizer: Tokenizer) -> Iterator[Encoded]:
    for part in parts:
        yield part, None if part is None else _encode(part, tokenizer)


def _encode(part: Part, tokenizer: Tokenizer) -> Ids:
    text = str(part.content)
    encode = getattr(tokenizer, "encode_narrow", tokenizer.encode)
    try:
        return progress.encode_at(part.place, lambda: encode(text))
    except TokenizerError as error:
        place = part.place.after(text[: error.position])
        raise DataError(f"{place} cannot be encoded: {error}") from error


def _compared(
    parts: Iterable[Part | None], tokenizer: PretrainedTokenizer, encode: Encoder
) -> Iterator[Encoded]:
    to_compare, unseen = _FIRST_COMPARED, 0
    for part in parts:
        if part is None:
            yield None, None
            continue
        text = str(part.content)
        unseen += len(text)
        if unseen >= _COMPARED_EVERY:
            to_compare, unseen = _THEN_COMPARED, 0
        if to_compare > 0:
            _compare(text[:to_compare], part, tokenizer, encode)
            to_compare -= len(text)
        yield part, progress.encode_at(part.place, lambda: encode(text))  # noqa: B023


def _compare(text: str, part: Part, tokenizer: PretrainedTokenizer, encode: Encoder) -> None:
    expected = _encode(part._replace(content=text), tokenizer)
    if not np.array_equal(encode(text), expected):
        raise UnequalIdsError(str(part.place))


def _in_batches(parts: Iterable[Part | None], tokenizer: PretrainedTokenizer) -> Iterator[Encoded]:
    """Encode one batch on all cores while the next is read and the one before is written."""
    waiting: deque[tuple[list[Part | None], Future[list[Ids]]]] = deque()
    with ThreadPoolExecutor(1) as encoder:
        for batch in _batches(parts):
            context = contextvars.copy_context()
            waiting.append((batch, encoder.submit(context.run, _encode_batch, batch, tokenizer)))
            if len(waiting) > 1:
                yield from _results(*waiting.popleft())
        while waiting:
            yield from _results(*waiting.popleft())


def _batches(parts: Iterable[Part | None]) -> Iterator[list[Part | None]]:
    """Yield batches of about `BATCH_CHARACTERS`.

    A text that fills a batch has one of its own: where the tokenizer does not come to an end, it is
    most often such a text, and its place alone is named.
    """
    batch: list[Part | None] = []
    size = 0
    for part in parts:
        length = 0 if part is None else len(part.content)
        if size and length >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += length
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    yield batch


def _encode_batch(batch: list[Part | None], tokenizer: PretrainedTokenizer) -> list[Ids]:
    texts = [part for part in batch if part is not None]
    if not texts:
        return []
    shown = texts[0].place.up_to(texts[-1].place)
    try:
        contents = [str(part.content) for part in texts]
        return progress.encode_at(shown, lambda: tokenizer.encode_batch(contents))
    except TokenizerError:
        return [_encode(part, tokenizer) for part in texts]  # raises for the one at fault


def _results(batch: list[Part | None], encoded: Future[list[Ids]]) -> Iterator[Encoded]:
    ids = iter(encoded.result())
    for part in batch:
        yield part, None if part is None else next(ids)
