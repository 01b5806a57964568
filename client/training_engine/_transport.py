# Generated from _aio_transport.py by client/generate_sync.py; run: make sync
"""What the blocking engine needs of a transport."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from training_engine._call import Call
from training_engine.errors import UnavailableError
from training_engine.records import Plain


class BucketAwayError(UnavailableError):
    """Nothing came from the address that the service named; the service can send the bytes."""


class Transport(Protocol):
    """Sends calls. Each method tries once and raises `TrainingEngineError`s."""

    def unary(self, call: Call) -> Plain:
        """Send a call and return its answer."""

    def events(self, call: Call, cursor: str, after_step: int | None) -> Iterator[Plain]:
        """Follow a job's stream behind a cursor, or a step where the transport can."""

    def answers(self, call: Call) -> Iterator[Plain]:
        """Follow the answers of a call that works for a while: sampled tokens, say."""

    def download(self, call: Call, offset: int, by_url: bool) -> Iterator[tuple[int, bytes]]:
        """Fetch a file from `offset` on, as pieces with the offset of each.

        With `by_url` from another address where the service names one.
        """

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        """Send a file and return the answer."""

    def close(self) -> None:
        """Let go of the connection."""
