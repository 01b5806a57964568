"""Sessions of browsers: a cookie that replaces a token, without holding it.

A link and an `EventSource` can carry no `Authorization` header, so a page trades its token for a
cookie. Its value is an expiry, signed with the token. So every gateway that knows the token can
check it, no gateway has to store it, and its sessions end when the token is withdrawn.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import cookie_parser

COOKIE = "training_engine_session"
# Where a browser trades its token for a cookie; requests to it need neither.
SIGN_IN = "/api/session"

_VERSION = "v1"
_PURPOSE = b"training-engine browser session until "
# Enough for every year that a date can hold, and few enough to be read as a number at once.
_EXPIRY_DIGITS = 12


@dataclass(frozen=True)
class Session:
    """The token that a cookie replaces, and when the session ends."""

    token: str
    expires: int
    """Unix time, seconds."""


class Sessions:
    """Issues and reads cookies for the tokens that are let in."""

    def __init__(self, tokens: Sequence[str], seconds: int) -> None:
        self._tokens = tuple(tokens)
        self._seconds = seconds

    @property
    def required(self) -> bool:
        """Whether requests need a token or a session; False where no token is configured."""
        return bool(self._tokens)

    def begin(self, token: str) -> Session:
        """Return a session for a token that was found to be a known one."""
        return Session(token, int(time.time()) + self._seconds)

    def set_cookie(self, session: Session, *, secure: bool) -> str:
        """Return the value of Set-Cookie that begins a session."""
        return _cookie(_signed(session.token, session.expires), self._seconds, secure)

    def end_cookie(self) -> str:
        """Return the value of Set-Cookie that ends one."""
        return _cookie("", 0, secure=False)

    def read(self, cookie_header: str) -> Session | None:
        """Return the session that a Cookie header carries.

        None where it is absent, stale or forged.
        """
        value = cookie_parser(cookie_header).get(COOKIE, "")
        version, _, rest = value.partition(".")
        expiry, _, _signature = rest.partition(".")
        if version != _VERSION or not (expiry.isascii() and expiry.isdigit()):
            return None
        if len(expiry) > _EXPIRY_DIGITS or int(expiry) <= time.time():
            return None
        expires = int(expiry)
        matching = [
            token
            for token in self._tokens
            if hmac.compare_digest(_signed(token, expires).encode(), value.encode())
        ]
        return Session(matching[0], expires) if matching else None


def _signed(token: str, expires: int) -> str:
    mac = hmac.new(token.encode(), _PURPOSE + str(expires).encode(), hashlib.sha256).digest()
    return f"{_VERSION}.{expires}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def _cookie(value: str, seconds: int, secure: bool) -> str:
    # Without a Path the cookie is for the addresses beside the one it came from, as the browser
    # sees them: /api, or /prefix/api behind a proxy.
    flags = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Max-Age={seconds}; HttpOnly; SameSite=Strict{flags}"
