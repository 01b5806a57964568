"""Brings copies of histories by columns up to date, and holds those in use in memory.

A request brings the copies of its jobs up to date first. In the background the copies of jobs that
train are extended every few seconds, and those of the newest jobs at the start, so that the first
look at many long runs has little to read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakValueDictionary

from control_plane.series.column_file import DamagedColumnsError
from control_plane.series.curves import JobCurves
from control_plane.series.folder import ColumnFolder
from job_store.errors import NotFoundError, StoreUnavailableError
from job_store.packed_history import PackedHistory, PackedPage
from service_runtime.logs import get_logger

_log = get_logger("series")
T = TypeVar("T")

_PAGE = 4000
"""Points that are read from Redis at once: some 20 ms of its time."""

_AT_ONCE = 8
"""Jobs that are read at the same time."""

_MEMORY_BYTES = 256 << 20
"""Of the jobs that are held in memory, without their files."""

_THREAD_BYTES = 1 << 15
"""A larger page is read in a thread, so that other calls go on."""

_NEWEST_JOBS = 200
"""Jobs whose copies are brought up to date at the start."""

_LEAST_SAVED = 512
"""Rows that are worth a chunk of their own: some 3 ms of Redis to read them again."""

_ROUNDS_BETWEEN_CLEANINGS = 60


class SeriesStore:
    """Histories by columns, of any number of jobs."""

    def __init__(self, history: PackedHistory, folder: ColumnFolder) -> None:
        self._history = history
        self._folder = folder
        self._jobs: OrderedDict[str, JobCurves] = OrderedDict()
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._permits = asyncio.Semaphore(_AT_ONCE)
        self._active: set[str] | None = None
        self._rounds = 0

    async def compute(self, job_ids: Sequence[str], work: Callable[[list[JobCurves]], T]) -> T:
        """Return what `work` makes of jobs that have all that their histories have now.

        Raises:
            NotFoundError: There is no such record.
            SegmentUnreadableError: A file of old points cannot be read.
        """
        for last_try in (False, True):
            try:
                jobs = [*await asyncio.gather(*map(self._fresh, job_ids))]
                return await asyncio.to_thread(work, jobs)
            except DamagedColumnsError as error:
                _log.warning("a copy of a history is made again", why=str(error))
                for job_id in job_ids:
                    self.forget(job_id)
                if last_try:
                    raise
            finally:
                self._let_go()
        raise AssertionError("the last try returns or raises")

    async def _fresh(self, job_id: str) -> JobCurves:
        lock = self._reading.setdefault(job_id, asyncio.Lock())
        async with lock, self._permits:
            job = self._jobs.get(job_id)
            if job is None:
                job = await asyncio.to_thread(self._open, job_id)
            self._jobs[job_id] = job
            self._jobs.move_to_end(job_id)
            try:
                await self._read(job_id, job)
            except (NotFoundError, DamagedColumnsError):
                self.forget(job_id)
                raise
        return job

    def _open(self, job_id: str) -> JobCurves:
        try:
            return JobCurves.open(self._folder.file_of(job_id))
        except DamagedColumnsError as error:
            _log.warning("a copy of a history is made again", why=str(error))
            self._folder.delete([job_id])
            return JobCurves.open(self._folder.file_of(job_id))

    async def _read(self, job_id: str, job: JobCurves) -> None:
        while True:
            before = job.columns.rows
            page = await self._history.page(job_id, job.columns.last_step + 1, _PAGE)
            if sum(len(part.packed) for part in page.parts) > _THREAD_BYTES:
                found, was_cut = await asyncio.to_thread(self._take, job, page)
            else:
                found, was_cut = self._take(job, page)
            is_behind = found >= _PAGE and job.columns.rows > before
            if not (is_behind or was_cut):
                break
        if job.columns.held_rows >= _LEAST_SAVED:  # a process that is killed has them in its file
            await asyncio.to_thread(self._save, job, least=_LEAST_SAVED)

    def _take(self, job: JobCurves, page: PackedPage) -> tuple[int, bool]:
        taken = job.take(page)
        self._save(job)
        return taken

    def _save(self, job: JobCurves, **least: int) -> None:
        try:
            with job.lock:
                job.columns.save(**least)
        except (OSError, DamagedColumnsError) as error:
            _log.warning("a copy of a history stays in memory", why=str(error))

    def _let_go(self) -> None:
        """Let go of the jobs used least recently, while they take too much memory."""
        held = sum(job.nbytes for job in self._jobs.values())
        while held > _MEMORY_BYTES and len(self._jobs) > 1:
            _, job = self._jobs.popitem(last=False)
            held -= job.nbytes
            self._save(job, least=_LEAST_SAVED)

    def forget(self, job_id: str) -> None:
        """Drop the copy of a job, its file too."""
        self._jobs.pop(job_id, None)
        self._folder.delete([job_id])

    async def keep_up(self) -> None:
        """Extend the copies of jobs that train, and of those that have just ended.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        active = set(await self._history.active())
        if self._active is None:
            before = set(await self._history.newest(_NEWEST_JOBS))
        else:
            before = self._active
        for job_id in sorted(active | before, reverse=True):
            await self._extend(job_id)
        self._active = active
        self._let_go()
        if self._rounds % _ROUNDS_BETWEEN_CLEANINGS == 0:
            await self._clean()
        self._rounds += 1

    async def _extend(self, job_id: str) -> None:
        try:
            await self._fresh(job_id)
            self._folder.use(job_id)
        except StoreUnavailableError:
            raise
        except NotFoundError:
            pass  # deleted meanwhile
        except Exception as error:  # a copy is never worth that the process is not ready
            _log.warning("a history was not copied", job_id=job_id, why=str(error))

    async def _clean(self) -> None:
        """Delete the files of jobs that were deleted, and what is too much."""
        job_ids = await asyncio.to_thread(self._folder.job_ids)
        gone = await self._history.missing(job_ids)
        await asyncio.to_thread(self._folder.delete, gone)
        await asyncio.to_thread(self._folder.prune)

    def close(self) -> None:
        """Save what is in memory."""
        for job in self._jobs.values():
            self._save(job, least=1)
        self._jobs.clear()
        self._folder.close()
