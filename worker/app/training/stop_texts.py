"""Ends a stream of text at the first of some stop texts, of which no part is ever given out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.training.sampled_text import SampledPiece


def before_stop(stop: Sequence[str], pieces: Iterator[SampledPiece]) -> Iterator[SampledPiece]:
    """Yield the pieces up to the one that completes a text of `stop`, with the text before it.

    Text that may be the beginning of one is held back until later pieces decide, so a piece may
    have less text than its token, or more.
    """
    held = ""
    for piece in pieces:
        text = held + piece.text
        found = [place for each in stop if (place := text.find(each)) >= 0]
        if found:
            yield replace(piece, text=text[: min(found)], finish_reason="stop")
            return
        waits = 0 if piece.finish_reason else _undecided(stop, text)
        held = text[len(text) - waits :]
        yield replace(piece, text=text[: len(text) - waits])


def _undecided(stop: Sequence[str], text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of a stop text."""
    return max((_overlap(each, text) for each in stop), default=0)


def _overlap(stop: str, text: str) -> int:
    """Return how many characters at the end of `text` are the first ones of `stop`."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
