"""Tokenizers with an id for each byte or each character: they need no files and no training."""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training.text_cuts import Cut
from app.training.tokenizer_files import BYTE_SIZE, TokenizerError
from app.training.tokenizer_protocol import (
    REPLACEMENT,
    STATE_FORMAT,
    Ids,
    TextStream,
    fingerprint_of,
)

_CODE_POINTS = sys.maxunicode + 1
_GATHERED_AT_ONCE = 1 << 15
_UNKNOWN = 255
"""Replaces every character outside a small alphabet."""


class ByteTokenizer:
    """UTF-8 bytes as ids 0..255: needs no training and expresses every text."""

    vocab_size = BYTE_SIZE
    end_of_text_id: int | None = None
    cut = Cut.ANYWHERE

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.to_dict())

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
        return {"format": STATE_FORMAT, "type": "byte"}


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
        return fingerprint_of(self.to_dict())

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
        return "".join([self.characters[i] if 0 <= i < size else REPLACEMENT for i in ids])

    def stream(self) -> TextStream:
        return _CharStream(self)

    def to_dict(self) -> dict[str, Any]:
        return {"format": STATE_FORMAT, "type": "char", "characters": self.characters}


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


class _ByteStream:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        if not 0 <= token_id < 256:
            return self._decoder.decode(b"", final=True) + REPLACEMENT
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
