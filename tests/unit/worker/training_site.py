"""A place where real worker processes train real jobs: a database, a folder, a text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from paced import Pace

from artifact_store import FolderStore, GuardedStore
from control_plane.archive import ArtifactArchive
from control_plane.queue import AttemptQueue
from job_store.alerts import encode_rules
from job_store.attempts import AttemptStore
from job_store.connection import AsyncConnection, Connection
from job_store.history import HistoryStore
from job_store.identity import ArtifactRecords
from job_store.jobs import JobStore
from job_store.records import Execution, JobRecord, JobStatus, NewJob

TINY: dict[str, Any] = {
    "model_config": {
        "vocab_size": 256,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 32,
        "dropout_rate": 0.1,
    },
    "batch_size": 4,
    "learning_rate": 0.01,
    "max_steps": 12,
    "warmup_steps": 2,
    "logging_steps": 1,
    "save_steps": 5,
    "eval_steps": 6,
    "device": "cpu",
}


class Site:
    """Starts workers and jobs, and looks at what became of them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.artifacts = folder / "artifacts"
        self.text = folder / "text.txt"
        self.text.write_text("".join(f"line {i}: the quick brown fox\n" for i in range(400)))
        self._connection = Connection.open(url)
        self.store = AttemptStore(self._connection)
        self.pace = Pace(folder)
        self._logs = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    # -- doing -----------------------------------------------------------------------------

    def worker(self) -> subprocess.Popen[bytes]:
        """A worker that lives; the one of an earlier test, if it still does."""
        living = self.workers()
        return living[0] if living else self.start_worker()

    def workers(self) -> list[subprocess.Popen[bytes]]:
        """Those that live."""
        return [process for process in self._processes if process.poll() is None]

    def start_worker(
        self, *, generation: bool = False, **settings: object
    ) -> subprocess.Popen[bytes]:
        """A worker process of its own, as `python -P -m training_worker` starts it."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        log = (self._logs / f"worker-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "training_worker", "--threads=1",
             "--generation" if generation else "--no-generation",
             "--heartbeat-seconds=1", "--lease-renewal-seconds=0.2", "--gathering-seconds=0.5",
             *flags],
            env={
                **os.environ,
                **self.pace.environment(),
                "TRAINING_ENGINE_REDIS_URL": self.url,
                "TRAINING_ENGINE_ARTIFACT_ROOT": str(self.artifacts),
            },
            stdout=log,
            stderr=log,
        )  # fmt: skip
        log.close()
        self._processes.append(process)
        return process

    def submit(
        self,
        execution: Execution | None = None,
        send: int = 1,
        data_roots: tuple[str, ...] | None = None,
        **config: Any,
    ) -> str:
        """Store a job and put its message in the queue `send` times; returns its id."""
        merged = {**TINY, **config}
        has_sources = "sources" in merged.get("data", {})
        new = NewJob(
            config_document=json.dumps(merged),
            max_steps=merged["max_steps"],
            dataset_path="" if has_sources else str(merged.get("dataset_path", self.text)),
            execution=execution or Execution(),
            data_roots=data_roots,
            alert_rules=encode_rules(merged.get("alerts", [])),
        )

        async def run() -> str:
            async with connected(self.url) as db:
                record = await JobStore(db).create(new)
                for _ in range(send):
                    await AttemptQueue(db).send(record.job_id, 1, "default", new.execution.device)
                return record.job_id

        return asyncio.run(run())

    def send(self, job_id: str) -> None:
        """Put a message for the job's current attempt into the queue."""

        async def run() -> None:
            async with connected(self.url) as db:
                record = await JobStore(db).get(job_id)
                device = record.execution.device
                await AttemptQueue(db).send(job_id, record.attempt, "default", device)

        asyncio.run(run())

    def stop(self, job_id: str) -> None:
        """Ask the job to stop."""

        async def run() -> None:
            async with connected(self.url) as db:
                await JobStore(db).request_stop(job_id)

        asyncio.run(run())

    def forget_everything(self) -> None:
        """Empty the database."""
        self._connection.command("FLUSHDB")

    # -- looking ---------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRecord:
        """The job's record."""
        return self.store.get(job_id)

    def wait(self, job_id: str, *statuses: JobStatus, seconds: float = 120.0) -> JobRecord:
        """The record once the job is in one of these states."""
        return self.wait_for(lambda: self._if_in(job_id, statuses), seconds)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        """The first true value of `condition`; fails, with the workers' logs, at the deadline."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"nothing within {seconds} s; the workers said:\n{self.logs()}")
            time.sleep(0.02)
        return value

    def _if_in(self, job_id: str, statuses: tuple[JobStatus, ...]) -> JobRecord | None:
        record = self.job(job_id)
        return record if record.status in statuses else None

    def history(self, job_id: str, page_size: int = 1000) -> list[tuple[int, Mapping[str, float]]]:
        """Step and values of every point that readers see."""

        async def run() -> list[tuple[int, Mapping[str, float]]]:
            async with connected(self.url) as db:
                store = HistoryStore(db, ArtifactArchive(FolderStore(self.artifacts)))
                page = await store.page(job_id, page_size=page_size)
                points = list(page.points)
                while page.next_page_token:
                    page = await store.page(
                        job_id, page_size=page_size, page_token=page.next_page_token
                    )
                    points += page.points
                return [(point.step, point.values) for point in points]

        return asyncio.run(run())

    def samples(self, job_id: str) -> list[tuple[int, tuple[str, ...]]]:
        """Step and sampled texts of every step that readers see some of."""

        async def run() -> list[tuple[int, tuple[str, ...]]]:
            async with connected(self.url) as db:
                page = await HistoryStore(db).samples(job_id)
                return [(each.step, each.texts) for each in page.items]

        return asyncio.run(run())

    def alerts(self, job_id: str) -> list[tuple[int, int]]:
        """Rule and step of every alert that has fired."""

        async def run() -> list[tuple[int, int]]:
            async with connected(self.url) as db:
                return [(each.rule, each.step) for each in await HistoryStore(db).alerts(job_id)]

        return asyncio.run(run())

    def weights(self, job_id: str) -> dict[str, torch.Tensor]:
        """The model of the newest registered checkpoint."""
        newest = self.store.checkpoints(job_id)[-1]
        state = torch.load(self.artifacts / newest.artifact, weights_only=True)
        model: dict[str, torch.Tensor] = state["model_state_dict"]
        return model

    def store_of_artifacts(self) -> GuardedStore:
        """The artifact store, recognised."""
        store = GuardedStore(FolderStore(self.artifacts))
        store.recognise(ArtifactRecords(self._connection))
        return store

    def horse(self, worker: subprocess.Popen[bytes]) -> int:
        """Process id of the worker's trainer (or inference process), once there is one."""
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        # The first child is the worker's witness.
        return int(self.wait_for(lambda: children.read_text().split()[1:])[0])

    def logs(self) -> str:
        """What the workers and trainers printed."""
        files = [*sorted(self._logs.glob("worker-*.log")), *self.artifacts.rglob("output.log")]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')}" for path in files)

    def close(self) -> None:
        """End every process that was started here."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self._connection.close()


@contextlib.asynccontextmanager
async def connected(url: str) -> Any:
    """An asynchronous connection that is closed again."""
    db = AsyncConnection.open(url)
    try:
        yield db
    finally:
        await db.close()


def comparable(history: list[tuple[int, Mapping[str, float]]]) -> list[tuple[Any, ...]]:
    """History without what depends on time."""
    names = ("loss", "lr", "grad_norm", "tokens_seen", "val_loss")
    return [(step, *(values.get(name) for name in names)) for step, values in history]
