"""The number of bytes of text of each id of a tokenizer.

A loss in bits per byte compares models of different tokenizers, which a loss per token does not:
it is what the model needs to encode the text. Bytes are counted of the ids that are predicted.
Those of bytes, characters and byte-level BPE are exact; a tokenizer that changes its text (lower
case, words that it does not know) is counted by the text that its ids decode to. Special tokens,
such as the one between documents, count 0 bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from app.training.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    Ids,
    PretrainedTokenizer,
    Tokenizer,
)

_BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-F]{2}>")


def bytes_of_ids(tokenizer: Tokenizer) -> Ids:
    """Return the bytes of each id, int64 [vocab_size]. Takes about a second for 250,000 ids."""
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    if isinstance(tokenizer, ByteTokenizer):
        counts[:] = 1
    elif isinstance(tokenizer, CharTokenizer):
        counts[:] = [len(character.encode()) for character in tokenizer.characters]
    elif isinstance(tokenizer, PretrainedTokenizer):
        definition = json.loads(tokenizer.definition)
        for index, size in _sizes(definition, tokenizer):
            counts[index] = size
        for token in definition.get("added_tokens") or []:
            counts[token["id"]] = 0 if token.get("special") else len(token["content"].encode())
    return counts


def _sizes(
    definition: Mapping[str, Any], tokenizer: PretrainedTokenizer
) -> Iterator[tuple[int, int]]:
    if _is_byte_level(definition.get("decoder")):
        for token, index in _vocabulary(definition):
            yield index, len(token)  # each of its characters is one byte
        return
    before = _first_letter(definition, tokenizer)
    length = len(tokenizer.decode(before).encode())
    for token, index in _vocabulary(definition):
        if _BYTE_TOKEN.fullmatch(token):
            yield index, 1
        else:
            yield index, len(tokenizer.decode([*before, index]).encode()) - length


def _first_letter(definition: Mapping[str, Any], tokenizer: PretrainedTokenizer) -> list[int]:
    """Return an id to decode others behind: some decoders drop the space of the first token."""
    for token, index in _vocabulary(definition):
        if token[-1:].isalpha() and tokenizer.decode([index]).isalpha():
            return [index]
    return []


def _vocabulary(definition: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    vocabulary = definition["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of piece and score
        yield from ((piece[0], index) for index, piece in enumerate(vocabulary))
    else:
        yield from vocabulary.items()


def _is_byte_level(decoder: Mapping[str, Any] | None) -> bool:
    if decoder is None:
        return False
    parts = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    return any(part["type"] == "ByteLevel" for part in parts)
