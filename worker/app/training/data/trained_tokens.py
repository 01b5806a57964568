"""The ids of a conversation, and which of them the assistant wrote.

A conversation is encoded as a whole, so that its ids are those of the text, whatever the tokenizer
does at the ends of a text. Which ids are the assistant's follows from the characters that each one
represents: those that share a character with a turn of the assistant. (Encoded in pieces, a
tokenizer that puts a space before each text would give other ids.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.training.data.chat_template import RenderedConversation
from app.training.tokenizer import ByteTokenizer, Ids, PretrainedTokenizer, Tokenizer

_BYTES_END = (0x80, 0x800, 0x10000)
"""Code points from which UTF-8 takes another byte."""


class TrainedTokens(NamedTuple):
    """A conversation's ids."""

    ids: Ids
    trained: npt.NDArray[np.bool_]
    """For each id, whether the assistant wrote it."""


def trained_tokens(tokenizer: Tokenizer, rendered: RenderedConversation) -> TrainedTokens:
    """Encode a conversation.

    Raises:
        TokenizerError: For text outside the tokenizer.
    """
    ids, starts, ends = _encode(tokenizer, rendered.text)
    trained = np.zeros(len(ids), dtype=np.bool_)
    for first, last in rendered.spans:
        trained |= (ends > first) & (starts < last)
    return TrainedTokens(ids, trained)


def _encode(tokenizer: Tokenizer, text: str) -> tuple[Ids, Ids, Ids]:
    """Ids, and the first character of each and the one behind its last."""
    if isinstance(tokenizer, PretrainedTokenizer):
        ids, places = tokenizer.encode_with_places(text)
        return ids, places[:, 0], places[:, 1]
    ids = tokenizer.encode(text)
    starts = np.arange(len(text))
    if isinstance(tokenizer, ByteTokenizer):
        starts = np.repeat(starts, _byte_counts(text))
    return ids, starts, starts + 1


def _byte_counts(text: str) -> Ids:
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    ends = np.array(_BYTES_END)
    counts: Ids = 1 + np.searchsorted(ends, code_points, side="right")
    return counts
