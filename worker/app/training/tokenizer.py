"""From text to token ids and back: bytes, characters, or a trained `tokenizer.json`.

A tokenizer is part of a run: its whole state is plain JSON, stored in every checkpoint, and its
fingerprint tells two of them apart. Text that a tokenizer cannot express is an error and is never
replaced silently; ids that it cannot express decode to U+FFFD, because a model may emit any id.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from app.training.reading import permitted
from app.training.special_tokens import end_of_text, named_tokens, usual_end
from app.training.text_cuts import Cut, cut_of_definition
from app.training.tokenizer_files import (
    BYTE_SIZE,
    GPT2_LOCATION_VARIABLE,
    TokenizerError,
    definition_file,
    gpt2_files,
    not_a_definition,
    read_definition,
    trained_size,
)

__all__ = [
    "GPT2_LOCATION_VARIABLE",
    "ByteTokenizer",
    "CharTokenizer",
    "PretrainedTokenizer",
    "TextStream",
    "Tokenizer",
    "TokenizerError",
    "describe_tokenizer",
    "load_tokenizer",
    "require_same_tokenizer",
    "tokenizer_from_dict",
]

logger = logging.getLogger(__name__)

_STATE_FORMAT = 1
_CODE_POINTS = sys.maxunicode + 1
_GATHERED_AT_ONCE = 1 << 15
_UNKNOWN = 255
"""Replaces every character outside a small alphabet."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Ids = npt.NDArray[np.int64]


class TextStream(Protocol):
    """Turns ids into text as they arrive, never splitting a character."""

    def push(self, token_id: int) -> str:
        """Return the text that became certain with this id; possibly empty."""

    def finish(self) -> str:
        """Return what is left; an unfinished character becomes U+FFFD."""


@runtime_checkable
class Tokenizer(Protocol):
    """What training, checkpoints and generation need of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, which are in [0, vocab_size)."""

    @property
    def end_of_text_id(self) -> int | None:
        """The id that ends a document, where the vocabulary has one."""

    @property
    def cut(self) -> Cut:
        """Where a text may be cut so that its parts get the ids of the whole."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of the state: equal fingerprints give equal ids."""

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, int64 [n]; raises TokenizerError for text outside it."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; bytes that are not text become U+FFFD."""

    def stream(self) -> TextStream:
        """Return a fresh incremental decoder."""

    def to_dict(self) -> dict[str, Any]:
        """Return the whole state as JSON-able values, for `tokenizer_from_dict`."""


class ByteTokenizer:
    """UTF-8 bytes as ids 0..255: needs no training and expresses every text."""

    vocab_size = BYTE_SIZE
    end_of_text_id: int | None = None
    cut = Cut.ANYWHERE

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self.to_dict())

    def encode(self, text: str) -> Ids:
        return self.encode_narrow(text).astype(np.int64)

    def encode_narrow(self, text: str) -> npt.NDArray[np.uint8]:
        """As `encode`, in an eighth of its memory."""
        # `surrogatepass` would produce bytes that no decoder accepts; a lone surrogate is an error.
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text holds {text[error.start]!r} at {error.start}; it must be valid Unicode; "
                "remove lone surrogates",
                error.start,
            ) from error
        return np.frombuffer(data, dtype=np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        stream = self.stream()
        return "".join([stream.push(int(i)) for i in ids]) + stream.finish()

    def stream(self) -> TextStream:
        return _ByteStream()

    def to_dict(self) -> dict[str, Any]:
        return {"format": _STATE_FORMAT, "type": "byte"}


class CharTokenizer:
    """One id per character, in code point order, of the characters seen in the training text.

    Args:
        characters: the alphabet; sorted and without repetition whatever is given.
    """

    end_of_text_id: int | None = None
    cut = Cut.ANYWHERE

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(characters)))
        if not self.characters:
            raise TokenizerError(
                "the character tokenizer has no characters; its training text must not be empty; "
                "check `dataset_path`"
            )
        # Indexed by code point, so that encoding is one gather.
        self._ids = np.full(_CODE_POINTS, -1, dtype=np.int32)
        self._ids[_code_points(self.characters)] = np.arange(len(self.characters))
        self._latin = np.where(self._ids[:256] < 0, _UNKNOWN, self._ids[:256]).astype(np.uint8)

    @classmethod
    def from_text(cls, pieces: Iterable[str]) -> CharTokenizer:
        """Collect the alphabet of a text that comes in pieces, in constant memory."""
        is_seen = np.zeros(_CODE_POINTS, dtype=bool)
        latin = b""
        for piece in pieces:
            try:
                latin = bytes({*latin, *piece.encode("latin-1").translate(None, latin)})
            except UnicodeEncodeError:
                is_seen[_code_points(piece)] = True
        return cls([*map(chr, np.flatnonzero(is_seen)), *latin.decode("latin-1")])

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self.to_dict())

    def encode(self, text: str) -> Ids:
        return self.encode_narrow(text).astype(np.int64)

    def encode_narrow(self, text: str) -> npt.NDArray[np.uint8] | npt.NDArray[np.int32]:
        """As `encode`, in half of its memory or less."""
        if self.vocab_size <= _UNKNOWN:
            with contextlib.suppress(UnicodeEncodeError):
                found = text.encode("latin-1").translate(self._latin.tobytes())
                if _UNKNOWN not in found:
                    return np.frombuffer(found, dtype=np.uint8)
        ids = _gathered(self._ids, _code_points(text))
        if ids.size and int(ids.min()) < 0:
            self._refuse(text, int(np.argmin(ids)))
        return ids

    def _refuse(self, text: str, position: int) -> None:
        raise TokenizerError(
            f"the text holds {text[position]!r} at {position}; the character tokenizer knows the "
            f"{self.vocab_size} characters of its training text only; leave it out, or train with "
            '`tokenizer: "byte"`, which knows every text',
            position,
        )

    def decode(self, ids: Iterable[int]) -> str:
        size = self.vocab_size
        return "".join([self.characters[i] if 0 <= i < size else _REPLACEMENT for i in ids])

    def stream(self) -> TextStream:
        return _CharStream(self)

    def to_dict(self) -> dict[str, Any]:
        return {"format": _STATE_FORMAT, "type": "char", "characters": self.characters}


def _gathered(
    table: npt.NDArray[np.int32], places: npt.NDArray[np.uint32]
) -> npt.NDArray[np.int32]:
    """`table[places]`, in parts that stay in a core's cache: half as much time."""
    found = np.empty(len(places), table.dtype)
    for start in range(0, len(places), _GATHERED_AT_ONCE):
        part = slice(start, start + _GATHERED_AT_ONCE)
        table.take(places[part], out=found[part], mode="clip")
    return found


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class PretrainedTokenizer:
    """A `tokenizer.json` of the Hugging Face `tokenizers` library, kept as its own text.

    Special tokens are not added to encoded text; those named in the text are recognised.

    Args:
        definition: the content of a `tokenizer.json`.
        name: what to call it in messages, such as `gpt2` or a file name.
        special_tokens: tokens by purpose, such as `eos_token`, see `named_tokens`.
    """

    def __init__(
        self,
        definition: str,
        name: str = "tokenizer.json",
        special_tokens: Mapping[str, str] | None = None,
    ) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except BaseException as error:
            _require_of_library(error)
            raise not_a_definition(name, error) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.name = name
        self.definition = definition
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self._vocab_size = max(vocabulary.values(), default=-1) + 1
        known = special_tokens or {}
        self.special_tokens = {use: token for use, token in known.items() if token in vocabulary}
        """Tokens of the vocabulary by purpose, such as `eos_token`."""
        marked = [
            token.content
            for token in self._tokenizer.get_added_tokens_decoder().values()
            if token.special
        ]
        self.end_of_text, self.warning = end_of_text(known, vocabulary, marked)
        """The id's text, such as `<|endoftext|>`."""
        self._end_of_text_id = vocabulary[self.end_of_text] if self.end_of_text else None
        self._usual_end = usual_end(vocabulary)

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    @property
    def end_of_text_id(self) -> int | None:
        return self._end_of_text_id

    @cached_property
    def cut(self) -> Cut:
        """See `Tokenizer`."""
        return cut_of_definition(self.definition)

    @property
    def fingerprint(self) -> str:
        state = {"definition": self.definition}
        if self.end_of_text != self._usual_end:
            state["end_of_text"] = str(self.end_of_text)
        return _fingerprint(state)

    def encode(self, text: str) -> Ids:
        return np.array(self._encode(text).ids, dtype=np.int64)

    def encode_with_places(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids, and the place in `text` of each.

        Places are int64 [n, 2]: the first character, and the one behind the last.
        """
        encoding = self._encode(text)
        places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return np.array(encoding.ids, dtype=np.int64), places

    def _encode(self, text: str) -> Any:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False)
        except BaseException as error:
            _require_of_library(error)
            raise TokenizerError(
                f"the tokenizer {self.name!r} cannot encode the text ({error}); it must be able to "
                "express every text; give it an unknown token, or take another tokenizer"
            ) from error

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        """Encode texts on all cores, each as `encode` does, while other threads can run."""
        try:
            encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except BaseException as error:
            _require_of_library(error)
            raise TokenizerError(f"the tokenizer {self.name!r} cannot encode a text") from error
        return [np.array(each.ids, dtype=np.int64) for each in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        known = [int(i) for i in ids if 0 <= i < self._vocab_size]
        return str(self._tokenizer.decode(known, skip_special_tokens=True))

    def stream(self) -> TextStream:
        return _PretrainedStream(self)

    def to_dict(self) -> dict[str, Any]:
        named = {"special_tokens": self.special_tokens} if self.special_tokens else {}
        return {
            "format": _STATE_FORMAT,
            "type": "pretrained",
            "name": self.name,
            "definition": self.definition,
            **named,
        }


class _ByteStream:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        if not 0 <= token_id < 256:
            return self._decoder.decode(b"", final=True) + _REPLACEMENT
        return self._decoder.decode(bytes([token_id]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _CharStream:
    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, token_id: int) -> str:
        return self._tokenizer.decode([token_id])

    def finish(self) -> str:
        return ""


class _PretrainedStream:
    """Decodes a short window of ids twice and emits the difference.

    Some decoders treat the first id of a text specially, so a new id cannot be decoded alone; and
    a character may take several ids, seen as U+FFFD at the end until it is whole. Cost per id is
    bounded by the window, not by the length of the text.
    """

    _LONGEST_WAIT = 16  # ids; a run that still ends in U+FFFD then is not text

    def __init__(self, tokenizer: PretrainedTokenizer) -> None:
        self._tokenizer = tokenizer
        self._settled: list[int] = []
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        self._pending.append(token_id)
        new = self._undecided()
        if new.endswith(_REPLACEMENT) and len(self._pending) < self._LONGEST_WAIT:
            return ""
        return self._settle(new)

    def finish(self) -> str:
        return self._settle(self._undecided()) if self._pending else ""

    def _undecided(self) -> str:
        before = self._tokenizer.decode(self._settled)
        return self._tokenizer.decode(self._settled + self._pending)[len(before) :]

    def _settle(self, text: str) -> str:
        self._settled, self._pending = self._pending, []
        return text


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
        logger.warning("%s", tokenizer.warning)
    return tokenizer


def tokenizer_from_dict(state: dict[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from `to_dict`; raises TokenizerError for a state it does not know."""
    kind = state.get("type")
    if state.get("format") == _STATE_FORMAT:
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
        f"{sorted(map(str, state))}; this release reads format {_STATE_FORMAT} of types byte, char "
        "and pretrained; use the release that wrote the checkpoint"
    )


def require_same_tokenizer(current: Tokenizer, saved: dict[str, Any]) -> None:
    """Refuse to continue a checkpoint with another tokenizer than it was trained with."""
    recorded = tokenizer_from_dict(saved)
    if recorded.fingerprint != current.fingerprint:
        raise TokenizerError(
            f"the data is encoded with {describe_tokenizer(current)}, but the checkpoint was "
            f"trained with {describe_tokenizer(recorded)}; ids would change their meaning; resume "
            "with the checkpoint's tokenizer and text, or start a new run"
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


def _require_of_library(error: BaseException) -> None:
    """Raise `error` again unless the tokenizers library raised it.

    The library raises a plain `Exception`, a `TypeError` for text that is not Unicode, or its
    panic, which is not an `Exception` at all.
    """
    known = type(error) in (Exception, TypeError, ValueError, UnicodeEncodeError)
    if not known and type(error).__name__ != "PanicException":
        raise error


def _fingerprint(state: dict[str, Any]) -> str:
    canonical = json.dumps(state, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
