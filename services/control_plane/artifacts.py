"""Finds out whether the artifact store is the one that the records belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from artifact_store import GuardedStore
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

    def lack(self, jobs: int) -> bool:
        return self._result(self._records.lack(jobs))

    def _result(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()
