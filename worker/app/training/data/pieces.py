"""Documents in pieces of bounded size that together get the ids of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from app.training.data.errors import DataError
from app.training.data.parts import Part
from app.training.text_cuts import Cut, last_cut

PIECE_CHARACTERS: Final = 1 << 20
"""Text is encoded in pieces of about this many characters, which bounds memory."""

WHOLE_CHARACTERS: Final = 1 << 24
"""The longest text that is encoded at once where it cannot be cut, which bounds memory, too."""


def cut_pieces(parts: Iterable[Part | None], cut: Cut, tokenizer: str) -> Iterator[Part | None]:
    """Yield the same text in pieces, with the None between documents.

    Parts that follow each other without a None are of one document.

    Raises:
        DataError: For a text too long to be encoded at once that cannot be cut for this tokenizer.
    """
    rest: Part | None = None
    for part in parts:
        if part is None or cut is Cut.ANYWHERE:
            yield from [] if rest is None else [rest]
            rest = None
        if part is None:
            yield None
            continue
        joined = part if rest is None else _joined(rest, part)
        if len(joined.content) <= PIECE_CHARACTERS:
            rest = joined
            continue
        *pieces, rest = _pieces_of(joined, cut)
        yield from pieces
        _require_short(rest, tokenizer)
    yield from [] if rest is None else [rest]


def _pieces_of(part: Part, cut: Cut) -> Iterator[Part]:
    """Yield pieces of a text, the last one with what may still go on."""
    text, place, start = str(part.content), part.place, 0
    while len(text) - start > PIECE_CHARACTERS:
        stop = _next_cut(text, cut, start)
        if stop is None:
            break
        piece = text[start:stop]
        yield Part(piece, place)
        place, start = place.after(piece), stop
    yield Part(text[start:], place)


def _next_cut(text: str, cut: Cut, start: int) -> int | None:
    """Return the last place to cut within a piece's length, or else the next one behind it."""
    stop = start + PIECE_CHARACTERS
    while start < len(text):
        if (found := last_cut(text, cut, start + 1, stop)) is not None:
            return found
        start, stop = stop - 1, stop + PIECE_CHARACTERS
    return None


def _joined(rest: Part, part: Part) -> Part:
    return Part(str(rest.content) + str(part.content), rest.place)


def _require_short(part: Part, tokenizer: str) -> None:
    if len(part.content) > WHOLE_CHARACTERS:
        raise DataError(
            f"the text from {part.place} on has more than {WHOLE_CHARACTERS:,} characters and no "
            f"place to cut it: parts would get other ids from the tokenizer {tokenizer!r} than the "
            "whole; divide the text into documents (several files, or JSON Lines), or take a "
            "byte-level tokenizer"
        )
