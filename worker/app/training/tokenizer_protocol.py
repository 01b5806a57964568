"""What the training library needs of a tokenizer, whatever kind it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from app.training.text_cuts import Cut

STATE_FORMAT = 1
"""Of `Tokenizer.to_dict`."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

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


def fingerprint_of(state: dict[str, Any]) -> str:
    """Return a hex digest of JSON-able values, the same whatever the order of their keys."""
    canonical = json.dumps(state, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
