"""What the files beside a tokenizer.json say.

They name tokens by purpose, which one ends a text, and how a conversation is written. Standard
library only: a control plane asks it too.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.training.reading import PathNotAllowedError, open_permitted

_FILES: Final = ("tokenizer_config.json", "special_tokens_map.json")
"""Where both name a token the first is right, as it is for `transformers`."""
_PURPOSES: Final = frozenset(
    f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)
_LONGEST_FILE: Final = 16 << 20
_USUAL_ENDS: Final = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]")
_LOOKS_LIKE_END: Final = re.compile(r"end|eos|eot|^</s>$", re.IGNORECASE)


class EndOfText(NamedTuple):
    """Which token ends a document."""

    token: str | None
    """Its text, such as `<|endoftext|>`; None where the vocabulary has none."""
    warning: str | None = None
    """What is probably not meant."""


def named_tokens(definition: Path) -> dict[str, str]:
    """Return the special tokens, by purpose as `eos_token`, that the files beside a file name."""
    found: dict[str, str] = {}
    for name in _FILES:
        for purpose, token in _content(definition.with_name(name)).items():
            text = token.get("content") if isinstance(token, dict) else token
            if purpose in _PURPOSES and isinstance(text, str) and text:
                found.setdefault(purpose, text)
    return found


def named_template(definition: Path) -> str | None:
    """Return the chat template beside a tokenizer.json; of several the one for chats."""
    with (
        contextlib.suppress(OSError, ValueError, PathNotAllowedError),
        open_permitted(definition.with_name("chat_template.jinja")) as file,
    ):
        return file.read(_LONGEST_FILE).decode()
    template = _content(definition.with_name(_FILES[0])).get("chat_template")
    if isinstance(template, list):
        named = {
            each.get("name"): each.get("template") for each in template if isinstance(each, dict)
        }
        template = named.get("default")
    return template if isinstance(template, str) and template else None


def _content(path: Path) -> dict[str, Any]:
    """Return a file's object.

    Empty for a file that is missing or unreadable, since none is required.
    """
    if not path.is_file():
        return {}
    try:
        with open_permitted(path) as file:
            content = json.loads(file.read(_LONGEST_FILE))
    except (OSError, ValueError, RecursionError, PathNotAllowedError):
        return {}
    return content if isinstance(content, dict) else {}


def usual_end(vocabulary: Collection[str]) -> str | None:
    """Return the token that ends a text where no file names one."""
    return next((token for token in _USUAL_ENDS if token in vocabulary), None)


def end_of_text(
    named: Mapping[str, str], vocabulary: Collection[str], special: Collection[str]
) -> EndOfText:
    """Choose the token that ends a document: the one that is named, else a usual one.

    Args:
        named: see `named_tokens`.
        vocabulary: all tokens.
        special: those of them that are marked as special.
    """
    usual, eos = usual_end(vocabulary), named.get("eos_token")
    if eos is not None and eos in vocabulary:
        return EndOfText(eos)
    separated = repr(usual) if usual else "a blank line"
    if eos is not None:
        return EndOfText(
            usual,
            f"the eos token {eos!r} that {_FILES[0]} or {_FILES[1]} names is not in the vocabulary "
            f"of tokenizer.json; documents are separated by {separated}; name one that is",
        )
    candidates = sorted(filter(_LOOKS_LIKE_END.search, special))
    if usual is None and candidates:
        return EndOfText(
            None,
            f"the tokenizer's special token {candidates[0]!r} looks like the end of a text, and no "
            f"eos token is named; documents are separated by a blank line; name it `eos_token` in "
            f"a {_FILES[0]} beside tokenizer.json",
        )
    return EndOfText(usual)
