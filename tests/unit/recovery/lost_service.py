"""The records and files of a service without its processes: its Redis can be lost and recovered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from artifact_store import FolderStore, GuardedStore, attempt_prefix, journal_prefix
from control_plane.journal import ArtifactJournal
from job_store.alerts import encode_rules
from job_store.attempts import AttemptStore
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection, Connection
from job_store.history import HistoryStore
from job_store.history_records import MetricPoint
from job_store.ids import new_id
from job_store.jobs import JobStore
from job_store.records import CheckpointRecord, FencingToken, JobRecord, NewJob
from job_store.sweeps import SweepStore
from recovery.recovery import recover
from recovery.report import Finding, Report
from training_worker.journal import JobJournal
from training_worker.spool import SpoolWriter

RULES = encode_rules(
    [
        {"when": "below", "metric": "loss", "value": 0.3, "points": 1},
        {"when": "failed"},
        {"when": "finished"},
    ]
)
DOCUMENT = json.dumps({"model_config": {"vocab_size": 256}, "max_steps": 100})


class LostService:
    """Stores on one database and one folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = FolderStore(folder)
        self.store_id = self.folder.make_identity("store_of_this_test")
        self.artifacts = GuardedStore(self.folder, self.store_id)
        self.worker = Connection.open(url)
        self.worker.command("SET", "te:artifact_store", self.store_id)
        self._plane = AsyncConnection.open(url)
        self.journal = ArtifactJournal(self._open)
        self.jobs = JobStore(self._plane, self.journal)
        self.configs = ConfigStore(self._plane, self.journal)
        self.datasets = DatasetStore(self._plane, self.journal)
        self.sweeps = SweepStore(self._plane, self.journal)
        self.history = HistoryStore(self._plane)
        self.attempts = AttemptStore(self.worker)

    async def close(self) -> None:
        """Close the connections."""
        self.worker.close()
        await self._plane.close()
        self.journal.close()

    async def _open(self) -> GuardedStore:
        return self.artifacts

    async def start(self, name: str = "job") -> str:
        """Start a job, and return its id."""
        return (
            await self.jobs.create(
                NewJob(DOCUMENT, 100, "/data/text", name=name, alert_rules=RULES)
            )
        ).job_id

    def claim(self, job_id: str, attempt: int = 1) -> FencingToken:
        """Take an attempt as a worker does, with its folder."""
        claimed = self.attempts.claim(job_id, attempt, "worker")
        assert claimed is not None
        self.path(claimed.token).mkdir(parents=True)
        start = claimed.resume_from.step if claimed.resume_from else 0
        self.attempts.confirm_start(claimed.token, start)
        return claimed.token

    def path(self, token: FencingToken) -> Path:
        """The attempt's folder."""
        return self.folder.local_path(attempt_prefix(token.job_id, token.attempt, token.claim_id))

    def log(self, token: FencingToken, steps: Iterable[int]) -> None:
        """Log these steps, and publish them."""
        points = [
            MetricPoint(step, {"loss": 1 / step, "lr": 0.1}, 1_000 + step, (f"text {step}",))
            for step in steps
        ]
        with closing(SpoolWriter(self.path(token))) as spool:
            for point in points:
                spool.append(point.step, point.time_ms, point.values, point.samples)
        self.attempts.publish_metrics(token, points)

    def save(self, token: FencingToken, step: int) -> CheckpointRecord:
        """Save and register a checkpoint."""
        prefix = attempt_prefix(token.job_id, token.attempt, token.claim_id)
        name = f"checkpoint_step_{step}.pt"
        info = self.artifacts.put(f"{prefix}/{name}", [b"weights %d" % step])
        manifest = {
            "format_version": 1, "file": name, "step": step, "loss": 1 / step, "timestamp": 1.0,
            "size_bytes": info.size_bytes, "sha256": info.sha256, "metric": "val_loss",
            "metric_value": 2 / step, "is_best": True,
        }  # fmt: skip
        self.artifacts.put(f"{prefix}/checkpoint_step_{step}.json", [json.dumps(manifest).encode()])
        record = CheckpointRecord(
            new_id("checkpoint"), token.job_id, token.attempt, step, 1 / step, info.size_bytes,
            info.sha256, info.key, 0, best_score=2 / step, metrics={"val_loss": 2 / step},
        )  # fmt: skip
        self.attempts.register_checkpoint(token, record)
        self.write_journal(token.job_id)
        return record

    def write_journal(self, job_id: str) -> None:
        """Write an entry, as a worker does after each change."""
        assert JobJournal(self.attempts, self.artifacts, job_id).record()

    async def steps(self, job_id: str) -> list[int]:
        """The steps in the job's history."""
        return [point.step for point in (await self.history.page(job_id)).points]

    async def job(self, job_id: str) -> JobRecord:
        """The job's record."""
        return await self.jobs.get(job_id)

    def entries(self, kind: str, id: str) -> list[Path]:
        """The files of a record's journal, the oldest first."""
        return sorted((self.folder.root / journal_prefix(kind, id)).glob(f"{id}.*.json"))

    def lose_redis(self) -> None:
        """Lose all that Redis holds."""
        self.worker.command("FLUSHDB")

    def lose_journal(self) -> None:
        """Make the store one of a release that wrote no journal."""
        shutil.rmtree(self.folder.root / "journal")

    def recover(self) -> Report:
        """Recover."""
        return recover(self.worker, self.folder)

    def finding(self, id: str) -> Finding:
        """Recover, and return what is said of one record."""
        (found,) = [finding for finding in self.recover().findings if finding.id == id]
        return found
