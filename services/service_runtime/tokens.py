"""Bearer tokens: who may call. Knows no transport; gRPC and REST ask the same object."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


class TokenVerifier:
    """Compares tokens without telling by its timing how much of one was right.

    Only hashes are kept, so that a dump of the process shows no token.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._hashes = [_hash(token) for token in tokens]

    @property
    def required(self) -> bool:
        """False where no token is configured: everybody is let in."""
        return bool(self._hashes)

    def accepts(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header's value lets its sender in."""
        if not self._hashes:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        given = _hash(token.strip())
        matches = [hmac.compare_digest(given, known) for known in self._hashes]
        return any(matches)  # all are compared first: no early exit


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
