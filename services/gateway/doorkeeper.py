"""Checks tokens, and slows clients that guess them.

A token that is long enough cannot be guessed, so it is always checked, whatever its client sent
before: no attacker can lock its holder out. A short one is not checked while its client has to wait
after wrong ones, since a fast client would find it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from starlette.types import Scope

from gateway.problems import ProblemError
from service_runtime.failed_attempts import FailedAttempts
from service_runtime.tokens import TokenVerifier, bearer_token

log = logging.getLogger(__name__)


class Doorkeeper:
    """Decides whether a client is let in with the token that it sends."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._verifier = TokenVerifier(tokens)
        self._failures = FailedAttempts()

    def accepts(self, authorization: str | None, client: str) -> bool:
        """Return whether an `Authorization` header lets `client` in; raise like `lets_in`."""
        return not self._verifier.required or self.lets_in(bearer_token(authorization), client)

    def lets_in(self, token: str, client: str) -> bool:
        """Whether the token is a known one; an empty one does not count as an attempt.

        Raises:
            ProblemError: `client` has to wait after wrong tokens (429), and this one is wrong or
                may not be checked yet.
        """
        if not token:
            return False
        wait = self._failures.seconds_to_wait(client)
        if self._verifier.knows(token, unguessable_only=wait > 0):
            return True
        if wait > 0:
            raise _too_many(client, math.ceil(wait))
        self._failures.failed(client)
        if self._failures.seconds_to_wait(client) > 0:
            log.warning("%s has sent many wrong tokens; it has to wait between more", client)
        return False


def client_of(scope: Scope) -> str:
    """Return the address that a request came from; behind a proxy it is the proxy's."""
    address = scope.get("client")
    return str(address[0]) if address else "this machine"


def _too_many(client: str, seconds: int) -> ProblemError:
    return ProblemError(
        f"too many wrong tokens came from {client}; try again in {seconds} s",
        reason="RATE_LIMITED",
        headers={"Retry-After": str(seconds)},
    )
