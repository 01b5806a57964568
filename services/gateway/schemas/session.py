"""Sessions of browsers."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas.base import Answer, Body


class SessionBody(Body):
    """A token to sign in with."""

    token: str = Field(description="A token that the gateway was started with.")


class SessionState(Answer):
    """Whether the sender of a request has to sign in, and is signed in."""

    required: bool = Field(description="False where the gateway has no tokens and asks for none.")
    authenticated: bool = Field(description="Whether the request may use the API.")
    expires_at: str | None = Field(
        description="When the session cookie ends, RFC 3339, UTC; null without one."
    )
