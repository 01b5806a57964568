"""Where a tokenizer's files are, and how many ids they define. Standard library only.

ValueError
└── TokenizerError      no such tokenizer, text it cannot encode, or a foreign saved state
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from app.training.home import expanded, in_home
from app.training.special_tokens import end_of_text, named_tokens

GPT2_LOCATION_VARIABLE = "TRAINING_ENGINE_GPT2_TOKENIZER"
GPT2_SIZE = 50257
BYTE_SIZE = 256
BUILT_IN = frozenset({"byte", "char", "gpt2"})
"""Names of tokenizers, as opposed to paths."""
SMALLEST_BPE = 257
"""Ids that a byte-level BPE has at least: the bytes and the end of a text."""
_TRAINED = "bpe:"
"""Begins the name of a tokenizer that is trained on the data, before the number of its ids."""

_GPT2_FOLDER = "~/.cache/training_engine/tokenizers/gpt2"
_LARGEST_DEFINITION = 64 << 20
"""Bytes of a tokenizer.json that are read to count its ids; larger ones are left to the worker."""


class TokenizerError(ValueError):
    """A tokenizer that cannot be had, text that it cannot encode, or a state it cannot read."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position
        """Where in the text that cannot be encoded, in characters."""


def trained_name(vocab_size: int) -> str:
    """Return the name of a byte-level BPE of so many ids that is trained on the data."""
    return f"{_TRAINED}{vocab_size}"


def trained_size(spec: str) -> int | None:
    """How many ids a tokenizer has at most that is trained on the data; None for any other."""
    found = re.fullmatch(rf"{_TRAINED}(-?\d{{1,4000}})", spec, re.ASCII)
    return int(found[1]) if found else None


def is_path(spec: str) -> bool:
    """Whether a tokenizer is the path of a file or folder."""
    return spec not in BUILT_IN and trained_size(spec) is None


def is_made_of_text(spec: str) -> bool:
    """Whether a tokenizer follows from the text that it encodes."""
    return spec == "char" or trained_size(spec) is not None


def definition_file(spec: str) -> Path:
    """Return the tokenizer.json that a path names, itself or in a folder.

    Raises:
        TokenizerError: A tokenizer that cannot be had, text that it cannot encode, or a state it
            cannot read.
    """
    try:
        path = expanded(spec)
    except ValueError as error:
        raise TokenizerError(f"`tokenizer`: {error}") from None
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise TokenizerError(
            f'`tokenizer` is {spec!r}; it must be "byte", "char", "gpt2" or the path of a '
            "tokenizer.json, and there is no such file; check the path"
        )
    return path


def gpt2_files() -> Path:
    """GPT-2's tokenizer.json, or the folder of its vocab.json and merges.txt.

    Raises:
        TokenizerError: They are not installed.
    """
    for place in _gpt2_places():
        if place.is_file():
            return place
        if (place / "tokenizer.json").is_file():
            return place / "tokenizer.json"
        if (place / "vocab.json").is_file() and (place / "merges.txt").is_file():
            return place
    raise TokenizerError(
        '`tokenizer` is "gpt2", whose files are not installed; a folder with tokenizer.json, or '
        f"vocab.json and merges.txt, must be named by {GPT2_LOCATION_VARIABLE}, be {_GPT2_FOLDER}, "
        'or be in Hugging Face\'s cache; put them there, or use `tokenizer: "byte"`'
    )


def _gpt2_places() -> Iterable[Path]:
    if named := os.environ.get(GPT2_LOCATION_VARIABLE):
        yield expanded(named)
    if (own := in_home(_GPT2_FOLDER)) is not None:
        yield own
    if (cache := in_home(os.environ.get("HF_HOME", "~/.cache/huggingface"))) is None:
        return
    for repository in ("models--openai-community--gpt2", "models--gpt2"):
        yield from sorted((cache / "hub" / repository / "snapshots").glob("*"))


def read_definition(path: Path) -> str:
    """Return the text of a tokenizer.json.

    Raises:
        TokenizerError: A tokenizer that cannot be had, text that it cannot encode, or a state it
            cannot read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"`tokenizer` is {str(path)!r}, which cannot be read ({error}); it must be a readable "
            "UTF-8 tokenizer.json; check the file"
        ) from error


class KnownTokenizer(NamedTuple):
    """What a tokenizer's files tell."""

    size: int | None
    """How many ids it has; None where that is unknown."""
    warning: str | None = None
    """What is probably not meant, see `end_of_text`."""


def known_tokenizer(spec: str) -> KnownTokenizer:
    """Look at a tokenizer without building it.

    Raises:
        TokenizerError: The path has no file, or the file is not a tokenizer.json.
    """
    if (size := trained_size(spec)) is not None:
        return KnownTokenizer(size)
    if spec in BUILT_IN:
        return KnownTokenizer({"byte": BYTE_SIZE, "gpt2": GPT2_SIZE}.get(spec))
    path = definition_file(spec)
    status = path.stat()
    if status.st_size > _LARGEST_DEFINITION:
        return KnownTokenizer(None)
    named = tuple(sorted(named_tokens(path).items()))
    return _of_definition(path, status.st_mtime_ns, status.st_size, named)


@lru_cache(maxsize=32)
def _of_definition(
    path: Path, changed_at: int, size: int, named: tuple[tuple[str, str], ...]
) -> KnownTokenizer:
    try:
        definition = json.loads(read_definition(path))
        count = max(_ids(definition), default=-1) + 1
        vocabulary, special = _words(definition)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise not_a_definition(str(path), error) from error
    return KnownTokenizer(count, end_of_text(dict(named), vocabulary, special).warning)


def _words(definition: Any) -> tuple[set[str], set[str]]:
    """All tokens, and the special ones."""
    added = definition.get("added_tokens") or []
    vocabulary = definition["model"]["vocab"]
    words = vocabulary if isinstance(vocabulary, dict) else (str(word[0]) for word in vocabulary)
    special = {str(token["content"]) for token in added if token.get("special")}
    return {*words, *(str(token["content"]) for token in added)}, special


def _ids(definition: Any) -> Iterator[int]:
    vocabulary = definition["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of piece and score
        yield len(vocabulary) - 1
    else:
        yield from (int(i) for i in vocabulary.values())
    yield from (int(token["id"]) for token in definition.get("added_tokens") or [])


def not_a_definition(name: str, why: object) -> TokenizerError:
    """Return the error for a file that is not a tokenizer.json."""
    shown = f"{type(why).__name__}: {why}" if isinstance(why, LookupError | TypeError) else why
    return TokenizerError(
        f"`tokenizer` is {name!r}, which cannot be read ({shown}); it must be a "
        "tokenizer.json of the Hugging Face `tokenizers` library; save it again with "
        "`tokenizer.save(path)`"
    )
