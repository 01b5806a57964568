"""A worker takes jobs only while it sees the artifact store that the records belong to."""

from __future__ import annotations

import fcntl
import itertools
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from rq.exceptions import StopRequested

from artifact_store import ArtifactStoreAwayError, GuardedStore, open_store
from job_store.connection import Connection
from job_store.errors import JobStoreError
from job_store.identity import ArtifactRecords
from training_worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

_locks: list[TextIO] = []
"""Of scratch folders: open for as long as this process lives, and its children."""


def open_artifacts(settings: WorkerSettings) -> GuardedStore:
    """Return the worker's artifact store, not recognised yet.

    Beside a bucket it takes a scratch folder that no other process uses.
    """
    root = settings.artifact_root
    return GuardedStore(
        open_store(root, None if isinstance(root, Path) else _take_scratch(settings.scratch_dir))
    )


def _take_scratch(parent: Path) -> Path:
    """Return the first folder below `parent` that is free, empty, and hold it to the end.

    A lock tells which are free: the folder of a process that was killed is used again, once its
    trainer has ended too.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        lock = (parent / f"{number}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        folder = parent / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder.resolve()
    raise AssertionError("the numbers have no end")


def recognise_artifacts(store: GuardedStore, records: ArtifactRecords) -> None:
    """Check that the store is the right one, and let it be used.

    Costs two small reads and one of Redis while the recognised store is there; else the records are
    read again.

    Raises:
        ArtifactStoreAwayError: It is another store, or cannot be read.
        StoreUnavailableError: Redis does not answer, or refuses.
    """
    try:
        store.require_newest(records)
    except ArtifactStoreAwayError:
        store.recognise(records)


class ArtifactGate:
    """Makes a worker wait while its artifact store is away or another one.

    Args:
        store: that the worker's attempts use.
        device: of the worker, as in its `WorkerRecord`.
        worker_id: names the worker in the messages of the jobs that wait.
    """

    def __init__(self, store: GuardedStore, db: Connection, device: str, worker_id: str) -> None:
        self._store, self._records = store, ArtifactRecords(db)
        self._cuda = device.startswith("cuda")
        self._worker_id = worker_id
        self._said = ""

    def pass_through(self, on_wait: Callable[[], None]) -> None:
        """Return once the store is there; `on_wait` is called every second until then."""
        while why := self._trouble():
            self._say(f"{why} (worker {self._worker_id})")
            on_wait()
            time.sleep(_LOOK_SECONDS)
        if self._said:
            logger.info("the artifact store %s is there again", self._store.place)
            self._say("")

    def _trouble(self) -> str:
        try:
            recognise_artifacts(self._store, self._records)
        except ArtifactStoreAwayError as error:
            return error.why
        except StopRequested:  # a signal
            raise
        except Exception as error:  # it would end the caller's loop
            return str(error) or type(error).__name__
        return ""

    def _say(self, why: str) -> None:
        """Say why in the log and in the messages of waiting jobs, whose number may grow."""
        if why and why != self._said:
            logger.error("no job is taken: %s", why)
        try:
            self._records.explain_wait(why, self._said, cuda=self._cuda)
        except JobStoreError as error:
            logger.warning("cannot write to the waiting jobs' records: %s", error)
        else:
            self._said = why
