"""From text to token ids and back: bytes, characters, or a trained `tokenizer.json`.

A tokenizer is part of a run: its whole state is plain JSON, stored in every checkpoint, and its
fingerprint tells two of them apart. Text that a tokenizer cannot express is an error and is never
replaced silently; ids that it cannot express decode to U+FFFD, because a model may emit any id.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.training.character_tokenizers import ByteTokenizer, CharTokenizer
from app.training.data_warnings import warn
from app.training.pretrained_tokenizer import PretrainedTokenizer
from app.training.reading import permitted
from app.training.special_tokens import named_tokens
from app.training.tokenizer_files import (
    GPT2_LOCATION_VARIABLE,
    TokenizerError,
    definition_file,
    gpt2_files,
    read_definition,
    trained_size,
)
from app.training.tokenizer_protocol import STATE_FORMAT, Ids, TextStream, Tokenizer

__all__ = [
    "GPT2_LOCATION_VARIABLE",
    "ByteTokenizer",
    "CharTokenizer",
    "Ids",
    "PretrainedTokenizer",
    "TextStream",
    "Tokenizer",
    "TokenizerError",
    "describe_tokenizer",
    "load_tokenizer",
    "require_same_tokenizer",
    "tokenizer_from_dict",
]


def load_tokenizer(spec: str, *, text_source: Iterable[str] | None = None) -> Tokenizer:
    """Return the tokenizer that a configuration names.

    Args:
        spec: `"byte"`, `"char"`, `"gpt2"`, or the path of a `tokenizer.json` or its folder.
        text_source: the training text in pieces, of which `"char"` takes its alphabet.

    Raises:
        TokenizerError: no such tokenizer, or its files are missing or damaged.
    """
    if spec == "byte":
        return ByteTokenizer()
    if spec == "char":
        if text_source is None:
            raise TokenizerError(
                '`tokenizer` is "char"; it is built from the training text, and there is none '
                "here; train on text, or name the tokenizer of the data's ids"
            )
        return CharTokenizer.from_text(text_source)
    if trained_size(spec) is not None:
        raise TokenizerError(
            f"`tokenizer` is {spec!r}; it is trained on the training text, and there is none here; "
            "train on text, or name the tokenizer of the data's ids"
        )
    if spec == "gpt2":
        return _load_gpt2()
    path = definition_file(spec)
    definition = read_definition(permitted(path))
    tokenizer = PretrainedTokenizer(definition, path.name, named_tokens(path))
    if tokenizer.warning:
        warn("tokenizer", tokenizer.warning)
    return tokenizer


def tokenizer_from_dict(state: dict[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from `to_dict`; raises TokenizerError for a state it does not know."""
    kind = state.get("type")
    if state.get("format") == STATE_FORMAT:
        if kind == "byte" and set(state) == {"format", "type"}:
            return ByteTokenizer()
        if kind == "char" and set(state) == {"format", "type", "characters"}:
            return CharTokenizer(state["characters"])
        keys = {"format", "type", "name", "definition"}
        if kind == "pretrained" and keys <= set(state) <= keys | {"special_tokens"}:
            tokens = state.get("special_tokens")
            return PretrainedTokenizer(state["definition"], state["name"], tokens)
    raise TokenizerError(
        f"the saved tokenizer has format {state.get('format')!r}, type {kind!r} and keys "
        f"{sorted(map(str, state))}; this release reads format {STATE_FORMAT} of types byte, char "
        "and pretrained; use the release that wrote the checkpoint"
    )


def require_same_tokenizer(current: Tokenizer, saved: dict[str, Any]) -> None:
    """Refuse to continue a checkpoint with another tokenizer than it was trained with."""
    recorded = tokenizer_from_dict(saved)
    if recorded.fingerprint != current.fingerprint:
        raise TokenizerError(
            f"the data is encoded with {describe_tokenizer(current)}, but the checkpoint was "
            f"trained with {describe_tokenizer(recorded)}; ids would change their meaning; resume "
            "with the checkpoint's `tokenizer`, or start a new run"
        )


def describe_tokenizer(tokenizer: Tokenizer) -> str:
    """Name a tokenizer in a message: its kind, size, end of text, and a short fingerprint."""
    state = tokenizer.to_dict()
    kind = state.get("name", state["type"])
    ends = f", {end!r} ends a text" if (end := getattr(tokenizer, "end_of_text", None)) else ""
    return f"tokenizer {kind!r} ({tokenizer.vocab_size} ids{ends}, {tokenizer.fingerprint[:8]})"


def _load_gpt2() -> Tokenizer:
    files = gpt2_files()
    definition = _byte_level_bpe(files) if files.is_dir() else read_definition(files)
    return PretrainedTokenizer(definition, name="gpt2")


def _byte_level_bpe(folder: Path) -> str:
    """Assemble GPT-2's published vocab.json and merges.txt into one definition."""
    import tokenizers

    vocabulary, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocabulary, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return str(tokenizer.to_str())
