"""Workers that report themselves; a record expires when its worker stops doing so."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.codec import (
    decode_checkpoint,
    decode_dataset,
    decode_worker,
    encode_worker,
    text_fields,
)
from job_store.connection import AsyncConnection, Connection
from job_store.errors import NotFoundError
from job_store.ids import check_id, check_worker_id
from job_store.keys import Keys
from job_store.records import CheckpointRecord, DatasetRecord, WorkerRecord
from job_store.unreadable import readable


class WorkerRegistry:
    """The workers' side (synchronous)."""

    def __init__(self, connection: Connection, ttl_seconds: float = 15.0) -> None:
        self._db = connection
        self._keys = Keys(connection.prefix)
        self._ttl_ms = int(ttl_seconds * 1000)

    def heartbeat(self, worker: WorkerRecord) -> None:
        """Register or refresh; `last_heartbeat` is set by the server."""
        check_worker_id(worker.worker_id)
        self._db.run("heartbeat", worker.worker_id, self._ttl_ms, encode_worker(worker))

    def leave(self, worker_id: str) -> None:
        """Remove a worker that exits from the list."""
        check_worker_id(worker_id)
        self._db.transaction(
            ("DEL", self._keys.item("worker", worker_id)),
            ("ZREM", self._keys.items("worker"), worker_id),
        )

    def get_dataset(self, dataset_id: str) -> DatasetRecord:
        """Return the record of an uploaded dataset.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id("dataset", dataset_id)
        stored = self._db.command("HGETALL", self._keys.item("dataset", dataset_id))
        if not stored:
            raise NotFoundError("dataset", dataset_id)
        return decode_dataset(dataset_id, text_fields(stored))

    def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord:
        """Return the record of a registered checkpoint of any job.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id("checkpoint", checkpoint_id)
        job_id = self._db.command("GET", self._keys.item("checkpoint", checkpoint_id))
        key = self._keys.job(job_id.decode(), "checkpoint_data") if job_id else None
        stored = key and self._db.command("HGET", key, checkpoint_id)
        if not stored:
            raise NotFoundError("checkpoint", checkpoint_id)
        return decode_checkpoint(checkpoint_id, stored, "")


class WorkerDirectory:
    """The control plane's side."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection
        self._keys = Keys(connection.prefix)

    async def list(self) -> Sequence[WorkerRecord]:
        """Return all live workers, by id."""
        ids = await self._db.command("ZRANGE", self._keys.items("worker"), 0, -1)
        if not ids:
            return []
        names = [id.decode() for id in ids]
        stored = await self._db.command(
            "MGET", *[self._keys.item("worker", name) for name in names]
        )
        rows = [*zip(names, stored, strict=True)]
        if gone := [name for name, record in rows if record is None]:
            await self._db.run("forget_workers", *gone)
        workers = readable(decode_worker, [row for row in rows if row[1] is not None])
        return sorted(workers, key=lambda worker: worker.worker_id)
