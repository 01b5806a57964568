"""Named things that jobs refer to: configurations and datasets."""

from __future__ import annotations

from job_store.connection import AsyncConnection
from job_store.records import ConfigPage, ConfigRecord, DatasetPage, DatasetRecord, Request


class ConfigStore:
    """Stored configurations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def create(
        self, name: str, document: str, request: Request | None = None
    ) -> ConfigRecord:
        """Store a configuration (JSON text). RequestIdReused."""
        raise NotImplementedError

    async def get(self, config_id: str) -> ConfigRecord:
        """One configuration. NotFound, RecordVersionError."""
        raise NotImplementedError

    async def list(self, page_size: int = 50, page_token: str = "") -> ConfigPage:
        """Newest first. InvalidPageToken."""
        raise NotImplementedError

    async def delete(self, config_id: str, request: Request | None = None) -> None:
        """Remove it; jobs started from it keep their own copy. NotFound."""
        raise NotImplementedError


class DatasetStore:
    """Uploaded datasets."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def create(
        self,
        name: str,
        size_bytes: int,
        sha256: str,
        artifact: str,
        *,
        dataset_id: str | None = None,
        request: Request | None = None,
    ) -> DatasetRecord:
        """Store the record of bytes already in the artifact store. RequestIdReused.

        `dataset_id`: from `ids.new_id("dataset")`, where the caller needed it for `artifact`.
        """
        raise NotImplementedError

    async def get(self, dataset_id: str) -> DatasetRecord:
        """One dataset. NotFound, RecordVersionError."""
        raise NotImplementedError

    async def list(self, page_size: int = 50, page_token: str = "") -> DatasetPage:
        """Newest first. InvalidPageToken."""
        raise NotImplementedError

    async def delete(self, dataset_id: str, request: Request | None = None) -> None:
        """Remove the record. NotFound."""
        raise NotImplementedError
