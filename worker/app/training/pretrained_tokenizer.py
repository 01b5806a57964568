"""Tokenizers of the Hugging Face `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from app.training.special_tokens import end_of_text, usual_end
from app.training.text_cuts import Cut, cut_of_definition
from app.training.tokenizer_files import TokenizerError, not_a_definition
from app.training.tokenizer_protocol import (
    REPLACEMENT,
    STATE_FORMAT,
    Ids,
    TextStream,
    fingerprint_of,
)
from app.training.unused_tokens import unused_token


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
        self._vocab_size = self._size(vocabulary)
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

    def _size(self, vocabulary: Mapping[str, int]) -> int:
        """Return the number of ids, without those at the end that only pad an embedding."""
        size = max(vocabulary.values(), default=-1) + 1
        while size and self._tokenizer.id_to_token(size - 1) == unused_token(size - 1):
            size -= 1
        return size

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    @property
    def end_of_text_id(self) -> int | None:
        return self._end_of_text_id

    def id_of(self, token: str) -> int | None:
        """Return the id of a token of the vocabulary."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    @cached_property
    def cut(self) -> Cut:
        return cut_of_definition(self.definition)

    @property
    def fingerprint(self) -> str:
        state = {"definition": self.definition}
        if self.end_of_text != self._usual_end:
            state["end_of_text"] = str(self.end_of_text)
        return fingerprint_of(state)

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
            "format": STATE_FORMAT,
            "type": "pretrained",
            "name": self.name,
            "definition": self.definition,
            **named,
        }


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
        if new.endswith(REPLACEMENT) and len(self._pending) < self._LONGEST_WAIT:
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


def _require_of_library(error: BaseException) -> None:
    """Raise `error` again unless the tokenizers library raised it.

    The library raises a plain `Exception`, a `TypeError` for text that is not Unicode, or its
    panic, which is not an `Exception` at all.
    """
    known = type(error) in (Exception, TypeError, ValueError, UnicodeEncodeError)
    if not known and type(error).__name__ != "PanicException":
        raise error
