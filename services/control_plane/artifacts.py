"""Finds out whether the artifact store is the one that the records belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from artifact_store import GuardedStore, JournalFiles
from job_store.identity import AsyncArtifactRecords

T = TypeVar("T")


async def recognise_artifacts(store: GuardedStore, records: AsyncArtifactRecords) -> None:
    """Let the store be used, once it is recognised as the one that the records belong to.

    Raises:
        StoreUnavailableError: Redis does not answer, or refuses.
        ArtifactStoreAwayError: The store is away, or another one.
    """
    if not store.expected:
        from_thread = _FromThread(records, asyncio.get_running_loop())
        await asyncio.to_thread(store.recognise, from_thread)


async def mark_journal(store: GuardedStore, records: AsyncArtifactRecords) -> None:
    """Check that Redis has no older state than the journal, then note in both how far it is now.

    Redis notes it first and durably, so its number is the smaller one only where it was replaced.

    Raises:
        RecordsLostError: It has an older state.
        ArtifactError: The store is away, or cannot be written.
        StoreUnavailableError: Redis does not answer, or refuses.
    """
    from_thread = _FromThread(records, asyncio.get_running_loop())
    await asyncio.to_thread(store.require_newest, from_thread)
    files = JournalFiles(store)
    before = await asyncio.to_thread(files.mark)
    if (mark := await records.advance_journal_mark(before)) > before:
        await asyncio.to_thread(files.set_mark, mark)


class _FromThread:
    """Gives a thread the records: recognising a store blocks, so it runs outside the event loop."""

    def __init__(self, records: AsyncArtifactRecords, loop: asyncio.AbstractEventLoop) -> None:
        self._records, self._loop = records, loop

    def expected(self) -> str:
        return self._result(self._records.expected())

    def record(self, identity: str) -> str:
        return self._result(self._records.record(identity))

    def known_artifacts(self) -> Sequence[str]:
        return self._result(self._records.known_artifacts())

    def journal_mark(self) -> int:
        return self._result(self._records.journal_mark())

    def lack(self, jobs: int) -> bool:
        return self._result(self._records.lack(jobs))

    def _result(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()
