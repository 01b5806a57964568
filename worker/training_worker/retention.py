"""Keeps a job's checkpoints to the number that its configuration asks for, over all attempts.

The library's own rotation sees one folder, and each attempt has its own; so in the service the
registry decides. A checkpoint leaves the registry, by a fenced call, before its files go; should
this process die in between, the control plane sweeps them. The files stay until the server has
the retirement on its disk: one that dies may forget its last seconds, and with them the checkpoint
that took the place of this one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from artifact_store import ArtifactStoreAwayError, GuardedStore, checkpoint_keys
from job_store.attempts import AttemptStore
from job_store.durability import DiskWatch
from job_store.errors import StoreUnavailableError
from job_store.records import CheckpointRecord, Claimed

logger = logging.getLogger(__name__)


class Retention:
    """Retires surplus checkpoints, and removes their files once the server's disk has that."""

    def __init__(
        self,
        store: AttemptStore,
        disk: DiskWatch,
        artifacts: GuardedStore,
        claimed: Claimed,
        keep: int,
    ) -> None:
        self._store = store
        self._disk = disk
        self._artifacts = artifacts
        self._claimed = claimed
        self._keep = keep
        self._retired: list[CheckpointRecord] = []
        self._awaiting_disk: list[CheckpointRecord] = []

    def retire_surplus(self) -> set[str]:
        """Take the oldest checkpoints beyond the bound out of the registry; return their ids.

        Keeps the best, the newest and the one that was resumed from.
        """
        gone = set()
        resumed = self._claimed.resume_from
        records = self._store.checkpoints(self._claimed.record.job_id)
        for record in surplus(records, self._keep, resumed.checkpoint_id if resumed else ""):
            if self._store.unregister_checkpoint(self._claimed.token, record.checkpoint_id):
                self._retired.append(record)
                gone.add(record.checkpoint_id)
        return gone

    def remove_files(self) -> None:
        """Remove the files of the retired checkpoints whose retirement is on the server's disk.

        Costs nothing where nothing was retired.

        Raises:
            StoreUnavailableError: The server is away; its disk is then waited for again.
        """
        try:
            for record in self._settled():
                self._remove(record)
        except StoreUnavailableError:
            self._retired, self._awaiting_disk = self._awaiting_disk + self._retired, []
            raise
        except ArtifactStoreAwayError as error:
            # What stays is swept by the control plane.
            logger.warning(
                "%d retired checkpoints keep their files: %s", len(self._awaiting_disk), error
            )
            self._awaiting_disk = []

    def _settled(self) -> Iterator[CheckpointRecord]:
        """Yield the checkpoints whose retirement is on the server's disk, each of them once."""
        if not self._awaiting_disk and self._retired:
            self._disk.begin()
            self._awaiting_disk, self._retired = self._retired, []
        if self._awaiting_disk and self._disk.is_settled():
            while self._awaiting_disk:
                yield self._awaiting_disk[0]
                self._awaiting_disk.pop(0)

    def _remove(self, record: CheckpointRecord) -> None:
        """Remove a retired checkpoint's files, and its record.

        Keeps them where a server that was away has forgotten the retirement, or where the store
        holds no other checkpoint of the job.
        """
        registered = self._store.checkpoints(record.job_id)
        if any(one.checkpoint_id == record.checkpoint_id for one in registered):
            return
        if not any(self._artifacts.holds(one.artifact, one.size_bytes) for one in registered[::-1]):
            logger.error("no other checkpoint is there: step %d keeps its file", record.step)
            return
        for key in checkpoint_keys(record.artifact):
            self._artifacts.delete(key)
        self._store.forget_checkpoint(record.job_id, record.checkpoint_id)
        logger.info("deleted checkpoint %s of step %d", record.checkpoint_id, record.step)


def surplus(
    records: Sequence[CheckpointRecord], keep: int, resumed_id: str
) -> list[CheckpointRecord]:
    """Return those of `records` (ascending by step) that are too many, so that `keep` stay."""
    protected = {record.checkpoint_id for record in records if record.is_best}
    protected |= {record.checkpoint_id for record in records[-1:]} | {resumed_id}
    spare = [record for record in records if record.checkpoint_id not in protected]
    return spare[: max(0, len(records) - keep)]
