"""Sampled text in pieces that know their tokens, for the blocking and the asyncio SDK alike."""

from __future__ import annotations

from training_engine.records import Plain


class TextPiece(str):
    """A piece of sampled text: a str that also says which tokens it was made from.

    Attributes:
        token_ids: Ids of its tokens; several where a character takes more than one.
        finish_reason: Of the last piece, which may be empty: `length` after `max_tokens`, `stop`
            at an end token. None of all others.
    """

    __slots__ = ("finish_reason", "token_ids")
    token_ids: tuple[int, ...]
    finish_reason: str | None

    def __new__(
        cls, text: str = "", token_ids: tuple[int, ...] = (), finish_reason: str | None = None
    ) -> TextPiece:
        piece = super().__new__(cls, text)
        piece.token_ids, piece.finish_reason = token_ids, finish_reason
        return piece


class TextPieces:
    """Makes pieces from single tokens, some of which add no text yet."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def take(self, token: Plain) -> TextPiece | None:
        """Return the piece that the token completes; None inside a character."""
        self._ids.append(token["token_id"])
        text, reason = token.get("text") or "", token.get("finish_reason") or None
        if not text and not reason:
            return None
        ids, self._ids = tuple(self._ids), []
        return TextPiece(text, ids, reason)
