"""Opaque tokens: page tokens and stream cursors, bound to what issued them and checksummed."""

from __future__ import annotations

import base64
import binascii
import zlib

MAX_TOKEN_CHARS = 600
"""Longer text is no token of ours and is not even decoded."""


def encode_token(kind: str, subject: str, *positions: str | int) -> str:
    """URL-safe text that carries the positions; `kind` and `subject` must match at decoding."""
    body = "|".join([kind, subject, *map(str, positions)]).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def decode_token(token: str, kind: str, subject: str) -> list[str]:
    """The positions. ValueError says why a token cannot be used."""
    if len(token) > MAX_TOKEN_CHARS:
        raise ValueError(f"it has {len(token)} characters and ours have at most {MAX_TOKEN_CHARS}")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        body = raw[4:].decode()
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not one of ours") from error
    if len(raw) < 5 or zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
        raise ValueError("it is damaged or not one of ours")
    found_kind, found_subject, *positions = body.split("|")
    if found_kind != kind:
        raise ValueError(f"it is for {found_kind!r}, not for {kind!r}")
    if found_subject != subject:
        raise ValueError(f"it belongs to {found_subject or 'another list'!r}, not to {subject!r}")
    return positions


def page_bounds(page_size: int, largest: int) -> int:
    """The page size to use: at least 1, at most `largest`; 0 or less asks for the largest."""
    return min(page_size, largest) if page_size > 0 else largest
