"""A worker's entries of the journal: what its attempt has changed in the job's record."""

from __future__ import annotations

import logging
import time

from artifact_store import ArtifactError, ArtifactStoreFullError, GuardedStore, JournalFiles
from job_store.attempts import AttemptStore
from job_store.errors import JobStoreError

logger = logging.getLogger(__name__)

_TRIES = 10
_PAUSE_SECONDS = 0.5


class JobJournal:
    """Writes one job's entries. StoreUnavailableError of the job store passes through."""

    def __init__(self, store: AttemptStore, artifacts: GuardedStore, job_id: str) -> None:
        self._store, self._files, self._job_id = store, JournalFiles(artifacts), job_id
        self.is_full = False
        """Whether the last entry found no room."""

    def record(self) -> bool:
        """Write the job as it is now; return whether that is durable.

        False where the artifact store is away or full: call again later.
        """
        self.is_full = False
        entry = self._store.journal_entry(self._job_id)
        if entry is None:
            return True  # deleted
        try:
            self._files.write(entry)
            if self._store.was_deleted(self._job_id):
                self._files.remove(entry.kind, entry.id)
        except (ArtifactError, OSError) as error:
            logger.warning("job %s waits for its journal: %s", self._job_id, error)
            self.is_full = isinstance(error, ArtifactStoreFullError)
            return False
        return True

    def record_end(self) -> None:
        """Write an ended attempt's job, with some tries.

        Without the entry, a recovery queues the job again, which then ends in the same way.
        """
        for _ in range(_TRIES):
            try:
                if self.record():
                    return
            except JobStoreError as error:
                logger.warning("job %s waits for its journal: %s", self._job_id, error)
            time.sleep(_PAUSE_SECONDS)
        logger.error("the end of an attempt of job %s is not in the journal", self._job_id)
