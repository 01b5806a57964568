"""Where a long text may be cut so that its parts get the ids of the whole.

A tokenizer sees a text through a normalizer, a pre-tokenizer and special tokens. Between a letter
or digit and white space most of them divide the text themselves, whatever is around it; then parts
that are cut there get the ids of the whole. Which ones do is read from the tokenizer.json. For one
that is not known to a text is never cut.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

Component = Mapping[str, Any]
"""A part of a tokenizer.json: a normalizer, a pre-tokenizer, an added token."""

_WHITE_SPACE: Final = " \n\r\t"

_UNICODE_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_NORMALIZERS = frozenset(
    [*_UNICODE_FORMS, "BertNormalizer", "Lowercase", "Nmt", "Precompiled", "StripAccents"]
)
"""Those that change characters one by one, or with combining marks, never across the cut."""

_SPLITS_AT_WHITE_SPACE = frozenset(["BertPreTokenizer", "Whitespace", "WhitespaceSplit"])
_SPLITS_CHARACTERS = frozenset(["CharDelimiterSplit", "Digits", "Punctuation"])
"""Those that divide by the character alone, so that a cut elsewhere changes nothing."""

_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_OTHERS = r" ?[^\s\p{L}\p{N}]+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT_4, WORDS = (
    rf"(?i:{_ENDINGS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}|{_OTHERS}[\r\n]*|" + _SPACES
    for digits in ("{1,3}", "")
)
"""How GPT-4 and Llama 3 divide words, and Qwen 2, which takes digits one by one."""
GPT_4O: Final = (
    rf"{_UPPER}*{_LOWER}+(?i:{_ENDINGS})?|{_UPPER}+{_LOWER}*(?i:{_ENDINGS})?|\p{{N}}{{1,3}}|"
    rf"{_OTHERS}[\r\n/]*|{_SPACES}"
)
GPT4_PATTERNS: Final = frozenset({GPT_4, WORDS, GPT_4O})
_GPT2_PATTERN: Final = rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+|{_OTHERS}|\s+(?!\S)|\s+"
_PATTERNS = GPT4_PATTERNS | {_GPT2_PATTERN}
"""Patterns of `Split` that never match a letter or digit and white space behind it together."""


class Cut(IntEnum):
    """Where texts may be cut for a tokenizer; a larger one allows what a smaller one does."""

    NOWHERE = 0
    BEFORE_SPACE = 1
    """Between a letter or digit and a space."""
    BEFORE_WHITE_SPACE = 2
    """Between a letter or digit and a space, tab or line end."""
    ANYWHERE = 3


def last_cut(text: str, cut: Cut, start: int, stop: int) -> int | None:
    """Return the last index in [start, stop) at which `text` may be cut; None if there is none."""
    if cut is Cut.NOWHERE:
        return None
    if cut is Cut.ANYWHERE:
        return stop - 1 if stop > start else None
    after = " " if cut is Cut.BEFORE_SPACE else _WHITE_SPACE
    for i in range(min(stop, len(text)) - 1, max(start, 1) - 1, -1):
        if text[i] in after and _is_steady(text[i - 1]):
            return i
    return None


def _is_steady(character: str) -> bool:
    """Whether it is a letter or digit, and stays one whatever a normalizer does."""
    return character.isalnum() and unicodedata.normalize("NFKD", character) == character


def cut_of_definition(definition: str) -> Cut:
    """Return where texts may be cut for the tokenizer of a tokenizer.json."""
    parts = json.loads(definition)
    if not all(map(_is_safe_token, parts.get("added_tokens") or [])):
        return Cut.NOWHERE
    if not _is_safe_normalizer(parts.get("normalizer")):
        return Cut.NOWHERE
    return _cut_of_sequence(_flat(parts.get("pre_tokenizer"), "pretokenizers"))


def _is_safe_token(token: Component) -> bool:
    """Whether an added token never takes both sides of a cut."""
    content = str(token["content"])
    takes_more = bool(token.get("rstrip")) and content[-1:].isalnum()
    return not takes_more and not any(character.isspace() for character in content)


def _is_safe_normalizer(normalizer: Component | None) -> bool:
    return all(
        part["type"] in _NORMALIZERS or _is_safe_replacement(part)
        for part in _flat(normalizer, "normalizers")
    )


def _is_safe_replacement(part: Component) -> bool:
    """Whether neither side of a cut can be a part of what is replaced."""
    if part["type"] != "Replace":
        return False
    if part["pattern"].get("Regex") == " {2,}":  # a run of spaces is never divided
        return True
    text = part["pattern"].get("String", "")
    return bool(text) and not any(c.isspace() or c.isalnum() for c in text)


def _cut_of_sequence(parts: list[Component]) -> Cut:
    """Return the first that divides at a cut decides: the others work on what it has divided."""
    for part in parts:
        if cut := _cut_of_pre_tokenizer(part):
            return cut
        if not _leaves_sides(part):
            break
    return Cut.NOWHERE


def _cut_of_pre_tokenizer(part: Component) -> Cut:
    kind = part["type"]
    if kind in _SPLITS_AT_WHITE_SPACE:
        return Cut.BEFORE_WHITE_SPACE
    if kind == "ByteLevel" and part.get("use_regex", True):
        # A prefix is put before a part that begins with anything but a space.
        return Cut.BEFORE_SPACE if part.get("add_prefix_space") else Cut.BEFORE_WHITE_SPACE
    if kind == "Metaspace" and part.get("split", True):
        return Cut.BEFORE_SPACE
    if kind == "Split" and not part.get("invert"):
        return _cut_of_split(part)
    return Cut.NOWHERE


def _cut_of_split(part: Component) -> Cut:
    pattern, behavior = part["pattern"], part["behavior"]
    if pattern.get("Regex") in _PATTERNS and behavior == "Isolated":
        return Cut.BEFORE_WHITE_SPACE
    if pattern.get("String") == " " and behavior in ("Isolated", "Removed", "MergedWithNext"):
        return Cut.BEFORE_SPACE
    return Cut.NOWHERE


def _leaves_sides(part: Component) -> bool:
    """Whether a pre-tokenizer that does not divide at a cut treats both sides as if it did."""
    if part["type"] == "ByteLevel":
        return not part.get("add_prefix_space") and not part.get("use_regex", True)
    return part["type"] in _SPLITS_CHARACTERS


def _flat(component: Component | None, name: str) -> list[Component]:
    """Return a component as the list of those that it is a sequence of."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [part for inner in component[name] for part in _flat(inner, name)]
