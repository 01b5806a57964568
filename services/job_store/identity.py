"""Which artifact store the records belong to, and what they name in it.

The id is recorded once. Every process compares it with the one that its artifact store carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from job_store.codec import decode_checkpoint
from job_store.connection import AsyncConnection, Connection
from job_store.errors import RecordVersionError
from job_store.restoring import read_holdings

_JOBS = 10_000
"""Newest jobs among which checkpoints are looked for: some 10 ms of the server's time, once."""
_CHECKPOINTS = 8
_WAITING_JOBS = 100


class ArtifactRecords:
    """For workers (synchronous)."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def expected(self) -> str:
        """Return the id of the artifact store; empty before the first was recorded."""
        return _text(self._db.run("artifact_store", ""))

    def record(self, identity: str) -> str:
        """Record this id unless there is one, and return the one that is recorded."""
        return _text(self._db.run("artifact_store", identity))

    def known_artifacts(self) -> Sequence[str]:
        """Return keys of some checkpoints, each of another job; empty where none is registered."""
        return _artifacts(self._db.run("known_checkpoints", _JOBS, _CHECKPOINTS))

    def lack(self, jobs: int) -> bool:
        """Whether they name fewer jobs than so many, or none at all, or are still recovered."""
        return read_holdings(self._db.run("holdings")).lack(jobs)

    def journal_mark(self) -> int:
        """Return how far the records had come when that was last noted; 0 for never."""
        return int(self._db.command("GET", f"{self._db.prefix}journal_mark") or 0)

    def explain_wait(self, why: str, before: str, *, cuda: bool) -> None:
        """Write into the messages of waiting jobs why this worker takes none of them.

        `before` is what it said last; an empty `why` takes that back. `cuda`: the worker also
        takes jobs that need a GPU.
        """
        self._db.run("explain_wait", why, before, int(cuda), _WAITING_JOBS)


class AsyncArtifactRecords:
    """For the control plane; see `ArtifactRecords`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def expected(self) -> str:
        """Return the id of the artifact store; empty before the first was recorded."""
        return _text(await self._db.run("artifact_store", ""))

    async def record(self, identity: str) -> str:
        """Record this id unless there is one, and return the one that is recorded."""
        return _text(await self._db.run("artifact_store", identity))

    async def known_artifacts(self) -> Sequence[str]:
        """Return keys of some checkpoints, each of another job; empty where none is registered."""
        return _artifacts(await self._db.run("known_checkpoints", _JOBS, _CHECKPOINTS))

    async def lack(self, jobs: int) -> bool:
        """Whether they name fewer jobs than so many, or none at all, or are still recovered."""
        return read_holdings(await self._db.run("holdings")).lack(jobs)

    async def journal_mark(self) -> int:
        """Return how far the records had come when that was last noted; 0 for never."""
        return int(await self._db.command("GET", f"{self._db.prefix}journal_mark") or 0)

    async def advance_journal_mark(self, least: int) -> int:
        """Note how far the records have come, durably, and return it; at least `least`.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        reply = await self._db.run("journal_mark", least)
        await self._db.facts()
        return int(reply[0]) if reply else 0


def _text(reply: list[Any] | None) -> str:
    return str(reply[0].decode()) if reply else ""


def _artifacts(reply: list[Any] | None) -> list[str]:
    keys = []
    for stored in reply[0] if reply else ():
        try:
            keys.append(decode_checkpoint("", stored).artifact)
        except RecordVersionError:
            continue  # of another version: its own program knows where it is
    return keys
