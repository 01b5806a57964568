"""Names for ids that no text has, in a tokenizer.json that has to name every row of an embedding.

An embedding is often padded beyond the tokenizer. Some readers fill up the vocabulary of such a
model, others refuse it, as ctranslate2 does for a GPT-2. A name here is part of the vocabulary and
no added token: an added token would be found in a text that spells it, and change its ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def unused_token(place: int) -> str:
    """Return the name of an id that no text has.

    Its space keeps it out of words: byte-level BPE writes a space as another character.
    """
    return f"[unused {place}]"


def all_named(vocabulary: Mapping[str, int], size: int) -> dict[str, int]:
    """Return a vocabulary in which each id below `size` has a token."""
    unnamed = sorted(set(range(size)) - set(vocabulary.values()))
    names = {unused_token(place): place for place in unnamed}
    return {**vocabulary, **{token: names[token] for token in names if token not in vocabulary}}


def with_all_named(content: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """Return a tokenizer.json in which each id below `size` has a token, as far as that is safe.

    It stays as it is where a text might get other ids by that, or every id has its token.
    """
    if not _is_closed(content):
        return content
    model = content["model"]
    added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    # The library numbers added tokens that the vocabulary lacks from its end on: all go into it.
    vocabulary = {**model["vocab"], **added}
    if set(range(size)) <= set(vocabulary.values()):
        return content
    return {**content, "model": {**model, "vocab": all_named(vocabulary, size)}}


def _is_closed(content: Mapping[str, Any]) -> bool:
    """Whether a text has only those tokens of the vocabulary that merges make."""
    model, tokens = content["model"], content.get("added_tokens") or []
    if model.get("type") != "BPE" or any(token.get("single_word") for token in tokens):
        return False
    # `ignore_merges` takes any word of the vocabulary; the words of ByteLevel have no space.
    return not model.get("ignore_merges") or "ByteLevel" in json.dumps(content.get("pre_tokenizer"))
