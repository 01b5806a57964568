"""What every servicer shares: the stores, the queue, the artifacts, and the mark of a shutdown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import grpc

from artifact_store import (
    ArtifactError,
    ArtifactStoreAwayError,
    GuardedStore,
    RecordsLostError,
    open_store,
)
from control_plane.archive import ArtifactArchive
from control_plane.artifacts import mark_journal, recognise_artifacts
from control_plane.conversion import alert_message
from control_plane.errors import call_error
from control_plane.journal import ArtifactJournal
from control_plane.paths import AllowedRoots
from control_plane.preflight_cache import PreflightCache
from control_plane.queue import AttemptQueue
from control_plane.series.folder import ColumnFolder
from control_plane.series.store import SeriesStore
from control_plane.settings import ControlPlaneSettings
from control_plane.webhooks import Webhooks
from job_store.alerts import Alert
from job_store.catalog import ConfigStore, DatasetStore
from job_store.connection import AsyncConnection
from job_store.errors import StoreUnavailableError
from job_store.evaluation import EvaluationClient
from job_store.generation import GenerationClient
from job_store.history import HistoryStore
from job_store.identity import AsyncArtifactRecords
from job_store.jobs import JobStore
from job_store.packed_history import PackedHistory
from job_store.paging import TokenKey
from job_store.reconcile import ReconcileStore
from job_store.streams import JobFeeds
from job_store.sweeps import SweepStore
from job_store.workers import WorkerDirectory
from service_runtime.logs import get_logger
from service_runtime.settings import SettingsError
from training_engine.v1 import job_pb2

_log = get_logger("control_plane")

_MARK_SECONDS = 5.0
"""Between two comparisons of the journal with Redis."""

Context = grpc.aio.ServicerContext[Any, Any]


class ServiceState:
    """One object for each process; servicers hold nothing that another process would need.

    Nothing connects yet, so Redis may come up later.

    Raises:
        SettingsError: A setting cannot be used.
    """

    def __init__(self, settings: ControlPlaneSettings) -> None:
        try:
            self.connection = AsyncConnection.open(settings.resolved_redis_url())
        except ValueError as error:
            raise SettingsError(f"--redis-url: {error}") from None
        self.settings = settings
        self.artifacts = GuardedStore(
            open_store(settings.artifact_root), without_recovery=settings.start_without_recovery
        )
        self.roots = AllowedRoots.of(settings.data_root, settings.roots_visible)
        self.webhooks = Webhooks.of(settings)
        self.journal = ArtifactJournal(self.open_artifacts)
        self.jobs = JobStore(self.connection, self.journal)
        self.configs = ConfigStore(self.connection, self.journal)
        self.datasets = DatasetStore(self.connection, self.journal)
        self.sweeps = SweepStore(self.connection, self.journal)
        archive = ArtifactArchive(self.artifacts)
        self.history = HistoryStore(self.connection, archive)
        columns = ColumnFolder(settings.series_folder)
        self.series = SeriesStore(PackedHistory(self.connection, archive), columns)
        self.workers = WorkerDirectory(self.connection)
        self.reconcile = ReconcileStore(self.connection)
        self.feeds = JobFeeds(self.connection, archive)
        self.queue = AttemptQueue(self.connection)
        self.generation = GenerationClient(self.connection)
        self.evaluation = EvaluationClient(self.connection)
        self.tokens = TokenKey(self.connection)
        self.preflights = PreflightCache()
        self.records_lost = ""
        """Why no call is served: Redis has no records, and the artifact store does."""
        self.next_mark_at = 0.0
        """When the journal is compared with Redis again, by `time.monotonic()`."""
        self.shutting_down = False
        """Set before streams are ended, so that each says why."""

    async def check_records(self) -> None:
        """Check that Redis still has its records, and remember in `records_lost` where not.

        Raises:
            RecordsLostError: It has none, and the artifact store holds what there should be.
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        records = AsyncArtifactRecords(self.connection)
        if self.artifacts.expected and self.artifacts.expected != await records.expected():
            self.artifacts.expected = ""  # emptied, or replaced: recognise the store anew
        try:
            await self.open_artifacts()
            await self._mark_journal(records)
        except RecordsLostError as error:
            self.records_lost = str(error)
            raise
        except ArtifactStoreAwayError:
            pass  # each call that needs the store says so
        self.records_lost = ""

    def require_records(self) -> None:
        """Check what `check_records` found: an empty list would look like a new service.

        Raises:
            RpcError: Redis has lost its records.
        """
        if self.records_lost:
            raise call_error("STORE_UNAVAILABLE", self.records_lost)

    async def _mark_journal(self, records: AsyncArtifactRecords) -> None:
        if (now := time.monotonic()) < self.next_mark_at:
            return
        try:
            await mark_journal(self.artifacts, records)
        except RecordsLostError:
            raise
        except (ArtifactError, OSError) as error:
            _log.warning("the journal's mark waits", why=str(error))
        self.next_mark_at = now + _MARK_SECONDS

    async def open_artifacts(self) -> GuardedStore:
        """Return the artifact store, recognised.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
            ArtifactStoreAwayError: The store is away, or another one.
        """
        await recognise_artifacts(self.artifacts, AsyncArtifactRecords(self.connection))
        return self.artifacts

    async def alert_messages(self, job_id: str, alerts: Sequence[Alert]) -> list[job_pb2.Alert]:
        """Return alerts of a job in words, and whether they were delivered where they are sent.

        Raises:
            NotFoundError: There is no such job.
        """
        if not alerts:
            return []
        config = json.loads((await self.jobs.get(job_id)).config_document)
        is_sent = bool(self.webhooks.address_of(config))
        return [alert_message(alert, config, is_sent=is_sent) for alert in alerts]

    async def look_for_artifacts(self) -> None:
        """Recognise the artifact store, or log why that has to wait; each use tries again."""
        try:
            await self.check_records()
            limitation = await asyncio.to_thread(self.artifacts.limitation)
        except (StoreUnavailableError, ArtifactError) as error:
            _log.warning("the artifact store is not used yet", why=str(error))
            return
        if limitation:
            _log.warning(limitation)

    async def close(self) -> None:
        """Close the feeds and the connection to Redis, and save the copies of histories."""
        await self.feeds.close()
        await self.connection.close()
        await asyncio.to_thread(self.series.close)
        self.journal.close()


class Servicer:
    """Base of the servicers."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
