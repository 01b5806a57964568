"""Opaque tokens that say where the next page of a list, or the rest of a stream, begins.

A token has a kind (what it continues, such as a list of jobs), a subject (which one, such as the id
of a job) and positions in it. It is signed, and valid for its kind and subject only. No client can
make one, so Lua scripts may use the positions unchecked.

The key of the signatures is kept in Redis, so every control plane accepts the tokens of every
other, also after a restart.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from job_store.connection import AsyncConnection
from job_store.errors import InvalidPageTokenError
from job_store.keys import Keys

MAX_TOKEN_CHARS = 600
"""Longer text cannot be one of our tokens and is not decoded."""

_SIGNATURE_BYTES = 16
_KEY_BYTES = 32
_KEY_SECONDS = 60.0
"""How long a key is used before Redis is asked again, which may have lost it meanwhile."""


class UnknownSignatureError(ValueError):
    """The text was not signed with this key, but perhaps with a newer one."""


@dataclass(frozen=True, slots=True)
class TokenCodec:
    """Makes and reads tokens with one key."""

    key: bytes

    def encode(self, kind: str, subject: str, *positions: str | int) -> str:
        """Return URL-safe text; `decode` demands the same `kind` and `subject`."""
        body = "|".join([kind, subject, *map(str, positions)]).encode()
        return base64.urlsafe_b64encode(self._signature(body) + body).decode().rstrip("=")

    def decode(self, token: str, kind: str, subject: str) -> list[str]:
        """Return the positions. ValueError says why a token cannot be used."""
        found_kind, found_subject, *positions = self._verified(token).split("|")
        if found_kind != kind:
            raise ValueError(f"it is for {found_kind!r}, not for {kind!r}")
        if found_subject != subject:
            shown = found_subject or "another list"
            raise ValueError(f"it belongs to {shown!r}, not to {subject!r}")
        return positions

    def _verified(self, token: str) -> str:
        if len(token) > MAX_TOKEN_CHARS:
            rule = f"ours have at most {MAX_TOKEN_CHARS}"
            raise ValueError(f"it has {len(token)} characters and {rule}")
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("it is not one of ours") from error
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(body)):
            raise UnknownSignatureError("it is damaged, of an earlier version or not one of ours")
        return body.decode()

    def _signature(self, body: bytes) -> bytes:
        # BLAKE2 with a key is a MAC. A stream signs each message, and HMAC takes 4 times as long.
        return hashlib.blake2b(body, digest_size=_SIGNATURE_BYTES, key=self.key).digest()


class TokenKey:
    """The key in Redis, cached. The first process that needs it makes it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection
        self._name = Keys(connection.prefix).token_key
        self._codec: TokenCodec | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def codec(self) -> TokenCodec:
        """Return a codec with the key, which is read from Redis if it is not cached.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        async with self._reading:  # a hundred first callers ask Redis once
            if self._codec is None or time.monotonic() - self._read_at >= _KEY_SECONDS:
                return await self._read()
            return self._codec

    async def decode(self, token: str, kind: str, subject: str) -> list[str]:
        """Return the positions of a token. ValueError says why it cannot be used.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        try:
            return (await self.codec()).decode(token, kind, subject)
        except UnknownSignatureError:  # another process may have signed it with a newer key
            return (await self._read()).decode(token, kind, subject)

    async def position(self, page_token: str, kind: str, subject: str) -> str:
        """Return where the page of a token with one position begins.

        Raises:
            InvalidPageTokenError: The token is damaged or of another list.
        """
        try:
            (position,) = await self.decode(page_token, kind, subject)
        except ValueError as error:
            raise InvalidPageTokenError(page_token, str(error)) from error
        return position

    async def _read(self) -> TokenCodec:
        """Read the key. Where Redis has none, write the cached key, or a new one."""
        key = await self._db.command("GET", self._name)
        if key is None:
            ours = self._codec.key if self._codec else secrets.token_bytes(_KEY_BYTES)
            _, key = await self._db.transaction(
                ("SET", self._name, ours, "NX"), ("GET", self._name)
            )
        self._codec, self._read_at = TokenCodec(key), time.monotonic()
        return self._codec


def page_bounds(page_size: int, largest: int) -> int:
    """Return the page size to use: `page_size` up to `largest`, and `largest` for 0 or less."""
    return min(page_size, largest) if page_size > 0 else largest
