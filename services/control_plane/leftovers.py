"""Deletes files that no record refers to (left by a crash between record and files).

A record is deleted before its files, so that every listed job has its files. A crash in between
leaves files behind. The same transactions put the jobs and uploads concerned on lists in Redis, so
the sweeper reads those lists instead of searching folders. Only the leading reconciler sweeps.

Redis may die and forget its last answers. Files are therefore deleted only where it is sure to keep
what makes them superfluous: that is what `stays_deleted`, `stays_retired` and `stays_as` ask.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence

from artifact_store import (
    ArtifactError,
    ArtifactStore,
    ArtifactStoreAwayError,
    ArtifactStoreFullError,
    GuardedStore,
    checkpoint_keys,
    job_prefix,
)
from control_plane.leases import FirstSeen
from control_plane.state import ServiceState
from job_store.errors import (
    JobStoreError,
    NotFoundError,
    NotJournaledError,
    RecordVersionError,
    StoreUnavailableError,
)
from job_store.records import CheckpointRecord, JobRecord, JobStatus
from service_runtime.logs import get_logger

_log = get_logger("reconciler")
_LOOK_SECONDS = 10.0
"""Seconds between two looks at the lists, or `sweep_after_seconds` where that is less."""
_UPLOADS_SECONDS = 60.0
"""Seconds between two looks at uploads."""
_QUIET_SECONDS = 600.0
"""A dataset's file of this age without a record will never have one: an upload writes its record
moments after its file."""
_ABANDONED_SECONDS = 86400.0
"""An upload of this age without a file will never be completed."""
_WATCHED_SECONDS = 3000.0
"""An upload counts as abandoned only after this process has watched it for so long, because the
server's clock, which gives its age, may have been set."""
_ATTEMPT = re.compile(r"jobs/[^/]+/attempts/(\d+)-[^/]+")
_CHECKPOINT = re.compile(rf"{_ATTEMPT.pattern}/checkpoint_step_\d+\.(?:pt|json)")


class Sweeper:
    """Sweeps a while after each event that may have left files.

    Such events are the end of an attempt, and the removal of a checkpoint or a job. The sweeper
    waits because a process that has not heard of the event may still write.
    """

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._age = state.settings.sweep_after_seconds
        self._looked_at = time.monotonic()
        self._uploads_looked_at = -float("inf")
        self._unsettled = FirstSeen[str]()  # uploads of which the end is not recorded yet
        self._task: asyncio.Task[None] | None = None
        self._is_store_away = False

    def begin(self) -> None:
        """Start a sweep in the background, if it is due and none is under way.

        Removing many gigabytes takes long, and leases have to be watched meanwhile.
        """
        under_way = self._task is not None and not self._task.done()
        if under_way or time.monotonic() - self._looked_at < min(_LOOK_SECONDS, self._age):
            return
        self._looked_at = time.monotonic()
        self._task = asyncio.create_task(self._try(), name="sweeper")

    async def end(self) -> None:
        """Cancel a sweep under way; what it has not done stays on the lists."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _try(self) -> None:
        try:
            await self.sweep()
        except StoreUnavailableError as error:
            _log.warning("the sweeper waits for Redis", why=str(error))
        except ArtifactStoreAwayError as error:
            self._note_store_away(error)
        except Exception as error:
            _log.error("the sweeper met a defect", exc_info=error)

    def _note_store_away(self, error: ArtifactStoreAwayError) -> None:
        """Log it once, not with every try until the store is back."""
        if not self._is_store_away:
            _log.warning("the sweeper waits for the artifact store", why=str(error))
        self._is_store_away = True

    async def sweep(self) -> None:
        """Delete all files that are due.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
            ArtifactStoreAwayError: The store is away, or another one; nothing is deleted then.
        """
        artifacts = await self._state.open_artifacts()
        await asyncio.to_thread(artifacts.require)
        self._is_store_away = False
        for job_id in await self._state.reconcile.due_sweeps(self._age):
            try:
                done = await self._sweep_job(job_id)
            except NotJournaledError as error:
                _log.error("files cannot be removed yet", job_id=job_id, why=str(error))
            except (StoreUnavailableError, ArtifactStoreAwayError):
                raise
            except (OSError, ArtifactError, JobStoreError) as error:
                _log.error("files cannot be removed", job_id=job_id, why=str(error))
            else:
                if done:
                    await self._state.reconcile.swept(job_id)
        if time.monotonic() - self._uploads_looked_at >= _UPLOADS_SECONDS:
            self._uploads_looked_at = time.monotonic()
            await self._sweep_uploads()

    async def _sweep_job(self, job_id: str) -> bool:
        """Delete a job's superfluous files; return whether nothing is left to do."""
        state = self._state
        try:
            record = await state.jobs.get(job_id, with_config=False)
        except NotFoundError:
            if not await state.jobs.stays_deleted(job_id):
                return False
            await state.journal.remove("job", job_id)
            await asyncio.to_thread(state.artifacts.delete_prefix, job_prefix(job_id))
            return True
        except RecordVersionError:
            return True  # the release that wrote the record sweeps for it
        registered = await self._registered(job_id)
        last_claimed = await state.jobs.last_claimed(job_id)
        if not await asyncio.to_thread(_any_is_there, state.artifacts, registered):
            # Without one of these files, a retired or unregistered checkpoint may be all there is.
            await asyncio.to_thread(_remove_half_written, state.artifacts, record, last_claimed)
            return True
        await self._record_in_journal(job_id)
        for retired in await state.jobs.retired_checkpoints(job_id):
            await remove_checkpoint(state, retired)
        return await self._sweep_attempts(record, registered, last_claimed)

    async def _record_in_journal(self, job_id: str) -> None:
        """Write the job into the journal before its files are deleted.

        Otherwise the journal would name checkpoints without files. Where the disk is too full for
        the entry, files are deleted all the same, since that makes room.

        Raises:
            NotJournaledError: The entry could not be written, for another reason.
        """
        try:
            await self._state.jobs.record_in_journal(job_id)
        except NotJournaledError as error:
            if not isinstance(error.__cause__, ArtifactStoreFullError):
                raise

    async def _sweep_attempts(
        self, record: JobRecord, registered: Sequence[CheckpointRecord], last_claimed: int
    ) -> bool:
        """Delete checkpoints that ended attempts saved but could not register.

        The job was read first, and a fenced attempt registers nothing. So only the claim of the
        next attempt can still register a file, one of the attempt claimed last. Return False where
        the job has changed meanwhile.
        """
        if not await self._state.jobs.stays_as(record, {one.checkpoint_id for one in registered}):
            return False
        keys = {key for checkpoint in registered for key in checkpoint_keys(checkpoint.artifact)}
        removed = await asyncio.to_thread(
            _remove_unregistered, self._state.artifacts, record, last_claimed, keys
        )
        if removed:
            _log.info("removed leftover files of attempts", job_id=record.job_id, files=removed)
        return True

    async def _registered(self, job_id: str) -> list[CheckpointRecord]:
        token, registered = "", list[CheckpointRecord]()
        while True:
            page = await self._state.jobs.list_checkpoints(job_id, page_token=token)
            if page.unreadable:  # its files cannot be distinguished from superfluous ones
                damaged = page.unreadable[0]
                raise RecordVersionError("checkpoint", damaged, "a damaged record", "a sound one")
            registered += page.checkpoints
            token = page.next_page_token
            if not token:
                return registered

    async def _sweep_uploads(self) -> None:
        """Delete files of datasets whose upload or deletion ended between files and record.

        Only datasets on a list are touched, so no file is deleted where Redis lost its records.
        """
        state = self._state
        await asyncio.to_thread(state.artifacts.discard_unfinished, _QUIET_SECONDS)
        abandoned = set(await state.datasets.unsettled(_ABANDONED_SECONDS))
        names = await state.datasets.unsettled(_QUIET_SECONDS)
        now = time.monotonic()
        self._unsettled.observe(names, now)
        for dataset_id in names:
            watched = self._unsettled.seconds(dataset_id, now)
            if watched < _QUIET_SECONDS:
                continue
            if await self._has_record(dataset_id):
                await state.datasets.settle(dataset_id)
                continue
            if not await state.datasets.stays_deleted(dataset_id):
                continue
            removed = await asyncio.to_thread(_remove_if_quiet, state.artifacts, dataset_id)
            if removed or (dataset_id in abandoned and watched >= _WATCHED_SECONDS):
                await state.datasets.settle(dataset_id)

    async def _has_record(self, dataset_id: str) -> bool:
        try:
            await self._state.datasets.get(dataset_id)
        except NotFoundError:
            return False
        except RecordVersionError:
            pass  # the release that wrote the record sweeps for it
        return True


async def remove_checkpoint(state: ServiceState, retired: CheckpointRecord) -> None:
    """Delete the files of a retired checkpoint, then its entry on the list of retired ones."""
    if not await state.jobs.stays_retired(retired.checkpoint_id):
        return  # Redis restarted without the removal, and has the checkpoint registered
    artifacts = await state.open_artifacts()
    for key in checkpoint_keys(retired.artifact):
        await asyncio.to_thread(artifacts.delete, key)
    await state.jobs.forget_checkpoint(retired.job_id, retired.checkpoint_id)


def _remove_if_quiet(artifacts: GuardedStore, dataset_id: str) -> bool:
    """Delete a dataset's files unless one was written just now; return whether files went."""
    prefix = f"datasets/{dataset_id}"
    stats = [artifacts.stat(key) for key in artifacts.keys(prefix)]
    if not stats or time.time() - max(stat.modified_at for stat in stats) < _QUIET_SECONDS:
        return False
    artifacts.delete_prefix(prefix)
    return True


def _any_is_there(artifacts: GuardedStore, registered: Sequence[CheckpointRecord]) -> bool:
    """Whether the file of any registered checkpoint exists with its recorded size."""
    newest_first = reversed(registered)  # the newest is most likely there
    return any(artifacts.holds(one.artifact, one.size_bytes) for one in newest_first)


def _remove_unregistered(
    artifacts: ArtifactStore, record: JobRecord, last_claimed: int, registered_keys: set[str]
) -> int:
    """Delete what attempts that are over saved but did not register; return the files' number.

    What the attempt claimed last saved stays until a worker claims the next one, which may begin
    with it. After success nothing is left to continue.
    """
    has_succeeded = record.status is JobStatus.SUCCEEDED
    last_over = record.attempt if has_succeeded else last_claimed - 1
    removed = 0
    for key in artifacts.keys(f"{job_prefix(record.job_id)}/attempts"):
        match = _CHECKPOINT.fullmatch(key)
        if match and key not in registered_keys and int(match[1]) <= last_over:
            removed += artifacts.delete(key)
    return removed + _remove_half_written(artifacts, record, last_claimed)


def _remove_half_written(artifacts: ArtifactStore, record: JobRecord, last_claimed: int) -> int:
    """Delete unfinished files in the folders of attempts that are over; return their number."""
    last_over = record.attempt if record.status.is_terminal else last_claimed - 1
    prefixes = {key.rpartition("/")[0] for key in artifacts.keys(job_prefix(record.job_id))}
    over = [
        prefix
        for prefix in prefixes
        if (match := _ATTEMPT.fullmatch(prefix)) and int(match[1]) <= last_over
    ]
    return sum(artifacts.discard_hidden(prefix) for prefix in over)
