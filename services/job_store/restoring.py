"""What only the recovery does: enters records that Redis has lost into an empty Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job_store.connection import REQUEST_MEMORY_MS, Connection
from job_store.ids import check_id
from job_store.keys import Keys
from job_store.records import FencingToken

UNDER_WAY, DONE = "under way", "done"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a Redis holds of a service's records."""

    jobs: int
    configs: int
    datasets: int
    artifact_store: str
    """Id of the artifact store that they belong to; empty for none yet."""
    recovery: str
    """`UNDER_WAY` and `DONE` with the id of the store; empty where none was begun."""

    @property
    def are_none(self) -> bool:
        """Whether there is no record at all."""
        return not (self.jobs or self.configs or self.datasets)

    def lack(self, jobs: int) -> bool:
        """Whether there are fewer jobs than so many, or no record, or a recovery has not ended."""
        return self.are_none or self.jobs < jobs or self.recovery.startswith(UNDER_WAY)

    def recovery_is(self, state: str, store_id: str) -> bool:
        """Whether the recovery from this store has come to this state."""
        return self.recovery == f"{state} {store_id}"

    def __str__(self) -> str:
        """Return what is there, in words."""
        return f"{self.jobs} jobs, {self.configs} configurations and {self.datasets} datasets"


def read_holdings(reply: list[Any] | None) -> Holdings:
    """Return the reply of the script `holdings`."""
    jobs, configs, datasets, store, recovery = reply or (0, 0, 0, b"", b"")
    return Holdings(jobs, configs, datasets, store.decode(), recovery.decode())


class RestoreStore:
    """The calls of the recovery (synchronous)."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self._keys = Keys(connection.prefix)

    def holdings(self) -> Holdings:
        """Return what Redis holds."""
        return read_holdings(self._db.run("holdings"))

    def begin(self, store_id: str) -> None:
        """Record that a recovery from this artifact store is under way."""
        self._db.command("SET", f"{self._db.prefix}recovery", f"{UNDER_WAY} {store_id}")

    def end(self, store_id: str, journal_mark: int) -> None:
        """Record that all of this artifact store's records are in Redis again.

        `journal_mark`: that of the store's journal.
        """
        self._db.transaction(
            ("SET", f"{self._db.prefix}journal_mark", journal_mark),
            ("SET", f"{self._db.prefix}artifact_store", store_id),
            ("SET", f"{self._db.prefix}recovery", f"{DONE} {store_id}"),
        )

    def restore_job(self, job_id: str, job: Mapping[str, Any]) -> bool:
        """Enter a job, held by the attempt and claim of its fields; False if it is there.

        A job that an earlier recovery still held is entered again.
        """
        reply = self._db.run("restore_job", check_id("job", job_id), json.dumps(job))
        return bool(reply and reply[0])

    def release_job(self, token: FencingToken, fields: Mapping[str, str]) -> None:
        """End the recovery's hold on a job, with these fields.

        Raises:
            FencedError: Another recovery holds it.
        """
        self._db.run(
            "release_job",
            token.job_id,
            token.attempt,
            token.claim_id,
            json.dumps(dict(fields)),
            REQUEST_MEMORY_MS,
        )

    def restore_item(self, kind: str, id: str, fields: Mapping[str, str]) -> bool:
        """Enter a configuration, a dataset or a sweep; False if it is there."""
        words = [word for pair in fields.items() for word in pair]
        reply = self._db.run("restore_item", kind, check_id(kind, id), REQUEST_MEMORY_MS, *words)
        return bool(reply and reply[0])
