"""Named things that jobs refer to: configurations and datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from job_store.codec import decode_config, decode_dataset, text_fields
from job_store.connection import AsyncConnection, memo_arguments, recall
from job_store.errors import NotFoundError
from job_store.ids import check_id, new_id
from job_store.journal import Journal, JournalWriter
from job_store.keys import Keys
from job_store.paging import TokenKey, page_bounds
from job_store.records import ConfigRecord, DatasetRecord, Page, Request
from job_store.unreadable import readable

MAX_PAGE = 1000
"""Items in a page at most."""

R = TypeVar("R")


class CatalogStore(Generic[R]):
    """Records of one kind, as hashes, and their list, newest first."""

    kind: ClassVar[str]
    most_on_page: ClassVar[int]
    _decode: Callable[[str, Mapping[str, str]], R]

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        self._db = connection
        self._journal = Journal(connection, journal)
        self._keys = Keys(connection.prefix)
        self._tokens = TokenKey(connection)

    async def _create(
        self, id: str, fields: dict[str, str], request: Request | None
    ) -> tuple[str, int]:
        """Return id and time of creation; of a repeated request those of its first call."""
        memo = memo_arguments(self._db.prefix, request)
        words = [word for pair in fields.items() for word in pair]
        reply = await self._db.run("create_item", self.kind, id, *memo, *words, request=request)
        answer = json.loads(reply[0]) if reply else {}
        await self._journal.acknowledge(memo[0], self.kind, answer["id"])
        return answer["id"], int(answer["created_at"])

    async def get(self, id: str) -> R:
        """Return one record.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        check_id(self.kind, id)
        stored = await self._db.command("HGETALL", self._keys.item(self.kind, id))
        if not stored:
            raise NotFoundError(self.kind, id)
        return self._decode(id, text_fields(stored))

    async def list(self, page_size: int = 50, page_token: str = "") -> Page[R]:
        """Return a page, newest first.

        Raises:
            InvalidPageTokenError: The token is damaged or of another list.
        """
        size = page_bounds(page_size, self.most_on_page)
        below = "+"
        if page_token:
            below = "(" + await self._tokens.position(page_token, self.kind, "all")
        key = self._keys.items(self.kind)
        stored_ids = await self._db.command(
            "ZRANGE", key, below, "-", "BYLEX", "REV", "LIMIT", 0, size + 1
        )
        ids = [id.decode() for id in stored_ids]
        if not ids:
            return Page((), "")
        token = ""
        if len(ids) > size:
            token = (await self._tokens.codec()).encode(self.kind, "all", ids[size - 1])
        stored = await self._db.pipeline(
            *[("HGETALL", self._keys.item(self.kind, id)) for id in ids[:size]]
        )
        # A record without fields was deleted since.
        rows = [(id, text_fields(hash)) for id, hash in zip(ids, stored, strict=False) if hash]
        return Page(tuple(readable(self._decode, rows)), token)

    async def answered(self, request: Request | None) -> R | None:
        """Return the record that a repeated call is about; None for a new call.

        Raises:
            RequestIdReusedError: The request id was used for another call.
            NotFoundError: The record was deleted since.
        """
        answer = await recall(self._db, request)
        if answer is None:
            return None
        id = json.loads(answer)["id"]
        await self._journal.record(self.kind, id)
        return await self.get(id)

    async def record_all_in_journal(self) -> None:
        """Write each record as it is now into the journal.

        Raises:
            NotJournaledError: An entry could not be written.
        """
        for id in await self._db.command("ZRANGE", self._keys.items(self.kind), 0, -1):
            await self._journal.record(self.kind, id.decode())

    async def delete(self, id: str, request: Request | None = None) -> None:
        """Remove a record; jobs started from a configuration keep their own copy.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id(self.kind, id)
        memo = memo_arguments(self._db.prefix, request)
        await self._db.run("delete_item", self.kind, id, *memo, request=request)
        await self._journal.acknowledge_removal(memo[0], self.kind, id)


class ConfigStore(CatalogStore[ConfigRecord]):
    """Stored configurations."""

    kind = "config"
    most_on_page = 100  # a configuration may have megabytes
    _decode = staticmethod(decode_config)

    async def create(
        self, name: str, document: str, request: Request | None = None
    ) -> ConfigRecord:
        """Store a configuration (JSON text).

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        fields = {"name": name, "document": document}
        id, created_at = await self._create(new_id("config"), fields, request)
        return ConfigRecord(id, name, document, created_at)

    async def answered(self, request: Request | None) -> ConfigRecord | None:
        """Return what a repeated `create` made; None for a new one, or where it was deleted since.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        try:
            return await super().answered(request)
        except NotFoundError:
            return None


class DatasetStore(CatalogStore[DatasetRecord]):
    """Uploaded datasets."""

    kind = "dataset"
    most_on_page = MAX_PAGE
    _decode = staticmethod(decode_dataset)

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        super().__init__(connection, journal)
        self._expected = f"{self._keys.items('dataset')}:expected"

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
        """Store the record of bytes already in the artifact store.

        `dataset_id`: from `ids.new_id("dataset")`, where the caller needed it for `artifact`.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        fields = {
            "name": name,
            "size_bytes": str(size_bytes),
            "sha256": sha256,
            "artifact": artifact,
        }
        fresh = check_id("dataset", dataset_id) if dataset_id else new_id("dataset")
        id, created_at = await self._create(fresh, fields, request)
        if id != fresh:  # an earlier request's: it has its own artifact
            return await self.get(id)
        return DatasetRecord(id, name, size_bytes, sha256, artifact, created_at)

    async def expect(self, dataset_id: str) -> None:
        """Record that files of this id are about to be written or removed."""
        seconds, _ = await self._db.command("TIME")
        await self._db.command(
            "ZADD", self._expected, int(seconds), check_id("dataset", dataset_id)
        )

    async def settle(self, dataset_id: str) -> None:
        """Delete the entry of `expect`: files and record agree."""
        await self._db.command("ZREM", self._expected, dataset_id)

    async def unsettled(self, age_seconds: float, limit: int = 100) -> Sequence[str]:
        """Return ids that were expected this long ago and never settled, oldest first."""
        seconds, _ = await self._db.command("TIME")
        oldest = int(seconds) - int(age_seconds)
        reply = await self._db.command(
            "ZRANGE", self._expected, "-inf", oldest, "BYSCORE", "LIMIT", 0, limit
        )
        return [id.decode() for id in reply]

    async def was_sent(self, request_id: str) -> bool:
        """Whether an upload with this id was stored before, of these bytes or of others."""
        if not request_id:
            return False
        key, _, _ = memo_arguments(self._db.prefix, Request(request_id, ""))
        return bool(await self._db.command("EXISTS", key))

    async def stays_deleted(self, dataset_id: str) -> bool:
        """Whether the record is gone, and no restart of the server could bring it back."""
        return await self._db.stays_gone(self._keys.item("dataset", dataset_id))

    async def was_deleted(self, dataset_id: str, request: Request | None) -> bool:
        """Whether this deletion is a repetition of one that was carried out.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        if await recall(self._db, request) is None:
            return False
        await self.delete(dataset_id, request)  # the journal may have missed the first
        return True
