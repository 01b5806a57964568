"""Workers that report themselves; a record expires when its worker stops doing so."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.connection import AsyncConnection, Connection
from job_store.records import DatasetRecord, WorkerRecord


class WorkerRegistry:
    """The workers' side (synchronous)."""

    def __init__(self, connection: Connection, ttl_seconds: float = 15.0) -> None:
        self._db = connection
        self._ttl_ms = int(ttl_seconds * 1000)

    def heartbeat(self, worker: WorkerRecord) -> None:
        """Register or refresh; `last_heartbeat` is set by the server."""
        raise NotImplementedError

    def leave(self, worker_id: str) -> None:
        """The worker exits: forget it at once."""
        raise NotImplementedError

    def get_dataset(self, dataset_id: str) -> DatasetRecord:
        """The record of an uploaded dataset. NotFound."""
        raise NotImplementedError


class WorkerDirectory:
    """The control plane's side."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def list(self) -> Sequence[WorkerRecord]:
        """All live workers, by id."""
        raise NotImplementedError
