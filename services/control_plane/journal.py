"""Writes the journal's entries into the artifact store, in threads beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from artifact_store import ArtifactError, ArtifactStoreAwayError, GuardedStore, JournalFiles
from job_store.batches import Batches
from job_store.errors import NotJournaledError
from job_store.journal import JournalEntry, JournalWriter

if TYPE_CHECKING:
    from control_plane.state import ServiceState

T = TypeVar("T")

_PAGE = 500

_THREADS = 4
"""Batches of jobs, of configurations and of datasets, and a check, wait for the disk at a time."""

_CALLS = 10_000
"""Callers that share a check."""


class ArtifactJournal(JournalWriter):
    """A `JournalWriter` on the artifact store.

    Args:
        open_store: returns the store, recognised; see `ServiceState.open_artifacts`.
    """

    def __init__(self, open_store: Callable[[], Awaitable[GuardedStore]]) -> None:
        self._open_store = open_store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="journal")
        self._checks = Batches(self._require, _CALLS)

    async def require(self) -> None:
        """Check that entries can be written, before a change is made that would need one.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
            ArtifactStoreAwayError: The store is away, or another one.
        """
        await self._checks.add(None)

    async def _require(self, calls: Sequence[None]) -> Sequence[None]:
        store = await self._open_store()
        await asyncio.get_running_loop().run_in_executor(self._threads, store.require)
        return calls

    async def write(self, entries: Sequence[JournalEntry]) -> None:
        await self._change(lambda files: files.write(*entries))

    async def is_complete(self) -> bool:
        """Whether each record has an entry.

        Raises:
            NotJournaledError: The store cannot be read.
        """
        return await self._change(JournalFiles.is_complete)

    async def set_complete(self) -> None:
        """Record that each record has an entry.

        Raises:
            NotJournaledError: The store cannot be written.
        """
        await self._change(JournalFiles.set_complete)

    async def remove(self, kind: str, id: str) -> None:
        await self._change(lambda files: files.remove(kind, id))

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)

    async def _change(self, change: Callable[[JournalFiles], T]) -> T:
        try:
            files = JournalFiles(await self._open_store())
            return await asyncio.get_running_loop().run_in_executor(self._threads, change, files)
        except (ArtifactError, OSError) as error:
            raise NotJournaledError(str(error)) from error


class JournalCompletion:
    """Writes an entry of each record that a release without a journal stored; once for a store."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._is_done = False

    async def run(self) -> None:
        """Do it, unless it was done.

        Raises:
            StoreUnavailableError: Redis, or the artifact store, cannot be used now.
        """
        if self._is_done:
            return
        try:
            await self._state.open_artifacts()
        except ArtifactStoreAwayError:
            return  # calls that need the store say so
        journal = self._state.journal
        if not await journal.is_complete():
            await self._write_jobs()
            await self._state.configs.record_all_in_journal()
            await self._state.datasets.record_all_in_journal()
            await self._state.sweeps.record_all_in_journal()
            await journal.set_complete()
        self._is_done = True

    async def _write_jobs(self) -> None:
        token = ""
        while True:
            page = await self._state.jobs.list(page_size=_PAGE, page_token=token)
            for job in page.items:
                await self._state.jobs.record_in_journal(job.job_id)
            token = page.next_page_token
            if not token:
                return
