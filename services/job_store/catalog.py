"""Named things that jobs refer to: configurations and datasets."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from job_store.codec import decode_config, decode_dataset, text_fields
from job_store.connection import AsyncConnection, memo_arguments, recall
from job_store.errors import InvalidPageTokenError, JobStoreError, NotFoundError
from job_store.ids import check_id, new_id
from job_store.journal import Journal, JournalWriter
from job_store.keys import Keys
from job_store.paging import TokenKey, page_bounds
from job_store.records import ConfigPage, ConfigRecord, DatasetPage, DatasetRecord, Request
from job_store.unreadable import left_out

MAX_PAGE = 1000
"""Items in a page at most."""

_MAX_CONFIG_PAGE = 100
# A config may have megabytes.

T = TypeVar("T")


class _Items:
    """Hashes of one kind and their list, newest first."""

    def __init__(
        self, connection: AsyncConnection, kind: str, journal: JournalWriter | None
    ) -> None:
        self._db = connection
        self._journal = Journal(connection, journal)
        self._keys = Keys(connection.prefix)
        self._kind = kind
        self._tokens = TokenKey(connection)

    async def create(
        self, id: str, fields: dict[str, str], request: Request | None
    ) -> tuple[str, int]:
        """Return id and time of creation; of a repeated request those of its first call."""
        memo = memo_arguments(self._db.prefix, request)
        words = [word for pair in fields.items() for word in pair]
        reply = await self._db.run("create_item", self._kind, id, *memo, *words, request=request)
        answer = json.loads(reply[0]) if reply else {}
        await self._journal.acknowledge(memo[0], self._kind, answer["id"])
        return answer["id"], int(answer["created_at"])

    async def get(self, id: str, decode: Callable[[str, dict[str, str]], T]) -> T:
        """Return one item.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        check_id(self._kind, id)
        stored = await self._db.command("HGETALL", self._keys.item(self._kind, id))
        if not stored:
            raise NotFoundError(self._kind, id)
        return decode(id, text_fields(stored))

    async def list(
        self, size: int, page_token: str, decode: Callable[[str, dict[str, str]], T]
    ) -> tuple[builtins.list[T], str]:
        """Return a page and the token of the next one."""
        below = "+"
        if page_token:
            below = "(" + await self._position(page_token)
        key = self._keys.items(self._kind)
        stored_ids = await self._db.command(
            "ZRANGE", key, below, "-", "BYLEX", "REV", "LIMIT", 0, size + 1
        )
        ids = [id.decode() for id in stored_ids]
        if not ids:
            return [], ""
        token = ""
        if len(ids) > size:
            token = (await self._tokens.codec()).encode(self._kind, "all", ids[size - 1])
        stored = await self._db.pipeline(
            *[("HGETALL", self._keys.item(self._kind, id)) for id in ids[:size]]
        )
        items = []
        for id, fields in zip(ids, stored, strict=False):
            try:
                if fields:  # else deleted since
                    items.append(decode(id, text_fields(fields)))
            except JobStoreError as error:
                left_out(error)
        return items, token

    async def answered(self, request: Request | None) -> str | None:
        """Return the id of the item that this request made; None for a new request.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        answer = await recall(self._db, request)
        if answer is None:
            return None
        id: str = json.loads(answer)["id"]
        await self._journal.record(self._kind, id)
        return id

    async def delete(self, id: str, request: Request | None) -> None:
        """Remove the item.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id(self._kind, id)
        memo = memo_arguments(self._db.prefix, request)
        await self._db.run("delete_item", self._kind, id, *memo, request=request)
        await self._journal.acknowledge_removal(memo[0], self._kind, id)

    async def record_all_in_journal(self) -> None:
        """Write each item as it is now into the journal.

        Raises:
            NotJournaledError: An entry could not be written.
        """
        for id in await self._db.command("ZRANGE", self._keys.items(self._kind), 0, -1):
            await self._journal.record(self._kind, id.decode())

    async def _position(self, token: str) -> str:
        try:
            (position,) = await self._tokens.decode(token, self._kind, "all")
        except ValueError as error:
            raise InvalidPageTokenError(token, str(error)) from error
        return position


class ConfigStore:
    """Stored configurations."""

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        self._items = _Items(connection, "config", journal)

    async def create(
        self, name: str, document: str, request: Request | None = None
    ) -> ConfigRecord:
        """Store a configuration (JSON text).

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        fields = {"name": name, "document": document}
        id, created_at = await self._items.create(new_id("config"), fields, request)
        return ConfigRecord(id, name, document, created_at)

    async def answered(self, request: Request | None) -> ConfigRecord | None:
        """Return what a repeated `create` made; None for a new one, or where it was deleted since.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        id = await self._items.answered(request)
        try:
            return None if id is None else await self.get(id)
        except NotFoundError:
            return None

    async def record_all_in_journal(self) -> None:
        """Write each one as it is now into the journal.

        Raises:
            NotJournaledError: An entry could not be written.
        """
        await self._items.record_all_in_journal()

    async def get(self, config_id: str) -> ConfigRecord:
        """Return one configuration.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        return await self._items.get(config_id, decode_config)

    async def list(self, page_size: int = 50, page_token: str = "") -> ConfigPage:
        """Return a page, newest first.

        Raises:
            InvalidPageTokenError: The token is damaged or of another list.
        """
        size = page_bounds(page_size, _MAX_CONFIG_PAGE)
        configs, token = await self._items.list(size, page_token, decode_config)
        return ConfigPage(tuple(configs), token)

    async def delete(self, config_id: str, request: Request | None = None) -> None:
        """Remove it; jobs started from it keep their own copy.

        Raises:
            NotFoundError: There is no such record.
        """
        await self._items.delete(config_id, request)


class DatasetStore:
    """Uploaded datasets."""

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        self._db = connection
        self._items = _Items(connection, "dataset", journal)
        self._keys = Keys(connection.prefix)
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
        id, created_at = await self._items.create(fresh, fields, request)
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

    async def answered(self, request: Request | None) -> DatasetRecord | None:
        """Return what a repeated `create` made; None for a new one.

        Raises:
            RequestIdReusedError: The request id was used for another call.
            NotFoundError: There is no such record.
        """
        id = await self._items.answered(request)
        return None if id is None else await self.get(id)

    async def record_all_in_journal(self) -> None:
        """Write each one as it is now into the journal.

        Raises:
            NotJournaledError: An entry could not be written.
        """
        await self._items.record_all_in_journal()

    async def get(self, dataset_id: str) -> DatasetRecord:
        """Return one dataset.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        return await self._items.get(dataset_id, decode_dataset)

    async def list(self, page_size: int = 50, page_token: str = "") -> DatasetPage:
        """Return a page, newest first.

        Raises:
            InvalidPageTokenError: The token is damaged or of another list.
        """
        size = page_bounds(page_size, MAX_PAGE)
        datasets, token = await self._items.list(size, page_token, decode_dataset)
        return DatasetPage(tuple(datasets), token)

    async def stays_deleted(self, dataset_id: str) -> bool:
        """Whether the record is gone, and no restart of the server could bring it back."""
        (held,) = await self._db.facts(("EXISTS", self._keys.item("dataset", dataset_id)))
        return not held

    async def was_deleted(self, dataset_id: str, request: Request | None) -> bool:
        """Whether this deletion is a repetition of one that was carried out.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        if await recall(self._db, request) is None:
            return False
        await self._items.delete(dataset_id, request)  # the journal may have missed the first
        return True

    async def delete(self, dataset_id: str, request: Request | None = None) -> None:
        """Remove the record.

        Raises:
            NotFoundError: There is no such record.
        """
        await self._items.delete(dataset_id, request)
