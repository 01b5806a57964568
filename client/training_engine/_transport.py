"""What the resources need of a transport, and what both transports are built with."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training_engine._calls import Call
from training_engine.errors import InvalidArgumentError
from training_engine.records import Plain

ADDRESS_VARIABLE = "TRAINING_ENGINE_ADDRESS"
URL_VARIABLE = "TRAINING_ENGINE_URL"
TOKEN_VARIABLE = "TRAINING_ENGINE_TOKEN"
DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_URL = "http://localhost:8000"
#: How long a stream may be silent before it counts as broken; servers ping every 15 to 20 s.
STREAM_SILENCE_SECONDS = 60.0
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Options:
    """How an engine talks.

    Attributes:
        timeout: Seconds that one call may take.
        retry_for: Seconds for which calls that are safe to repeat bear an absent service.
        reconnect_for: Seconds for which a broken stream or download is taken up again, counted
            from the last thing that arrived.
        token: Access token, or None.
        tls: Encrypt gRPC; REST goes by its URL.
    """

    timeout: float = 30.0
    retry_for: float = 10.0
    reconnect_for: float = 300.0
    token: str | None = None
    tls: bool = False


def chosen_token(token: str | None) -> str | None:
    """Return the token given, else the environment's, else None."""
    return token or os.environ.get(TOKEN_VARIABLE) or None


def checked_address(address: str) -> str:
    """Return a gRPC address; InvalidArgumentError for a URL, which gRPC would look up as a name."""
    if address.lower().startswith(("http://", "https://")):
        raise InvalidArgumentError(
            f"the address is {address!r}, and must be HOST:PORT: drop {address.split('//')[0]}//; "
            "if it is a gateway, use --url or TrainingEngine.over_rest"
        )
    return address


class Transport(Protocol):
    """Sends calls and blocks. Each method tries once and raises `TrainingEngineError`s."""

    def unary(self, call: Call) -> Plain:
        """Send a call and return its answer."""

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        """Follow a job's stream behind a cursor, or a step where the transport can."""

    def tokens(self, call: Call) -> Iterator[Plain]:
        """Follow a generation, one `{text, ...}` a token."""

    def download(self, call: Call, offset: int) -> Iterator[tuple[int, bytes]]:
        """Fetch a file from `offset` on, as pieces with the offset of each."""

    def upload(self, call: Call, chunks: Iterable[bytes], size_bytes: int) -> Plain:
        """Send a file and return the answer."""

    def close(self) -> None:
        """Let go of the connection."""


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def unary(self, call: Call) -> Plain:
        """Send a call and return its answer."""

    def events(self, call: Call, cursor: str, after_step: int | None) -> AsyncIterator[Plain]:
        """Follow a job's stream behind a cursor, or a step where the transport can."""

    def tokens(self, call: Call) -> AsyncIterator[Plain]:
        """Follow a generation, one `{text, ...}` a token."""

    def download(self, call: Call, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Fetch a file from `offset` on, as pieces with the offset of each."""

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        """Send a file and return the answer."""

    async def close(self) -> None:
        """Let go of the connection."""
