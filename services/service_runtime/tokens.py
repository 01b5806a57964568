"""Bearer tokens: who may call. Knows no transport; gRPC and REST ask the same object."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

UNGUESSABLE_CHARACTERS = 20
"""A token of so many characters, drawn at random, cannot be found by trying."""


class TokenVerifier:
    """Compares tokens without telling by its timing how much of one was right.

    Only hashes are kept, so that a dump of the process shows no token.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        accepted = list(tokens)
        self._hashes = [_hash(token) for token in accepted]
        self._unguessable = [_hash(token) for token in accepted if not is_guessable(token)]

    @property
    def required(self) -> bool:
        """False where no token is configured, so that every caller is let in."""
        return bool(self._hashes)

    def accepts(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header's value lets its sender in."""
        return not self._hashes or self.knows(bearer_token(authorization))

    def knows(self, token: str, *, unguessable_only: bool = False) -> bool:
        """Whether `token` is a configured one, or one that cannot be guessed if so asked."""
        digest = _hash(token)
        hashes = self._unguessable if unguessable_only else self._hashes
        matches = [hmac.compare_digest(digest, one) for one in hashes]
        return any(matches)  # all are compared first: no early exit


def bearer_token(authorization: str | None) -> str:
    """Return the token in an `Authorization` header's value; empty where it carries none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_guessable(token: str) -> bool:
    """Whether a token is so short that it could be found by trying."""
    return len(token) < UNGUESSABLE_CHARACTERS


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
