"""The visible metric history: latest values, pages of points, charts from summaries, logs."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from typing import Any

from job_store.alerts import Alert, decode_alerts
from job_store.archive import NoArchive, SegmentReader, read_visible
from job_store.charts import (
    bucket_of,
    buckets_of,
    join_small,
    reduce_to,
    unpack_buckets,
)
from job_store.codec import decode_log_line, decode_samples
from job_store.connection import AsyncConnection
from job_store.errors import InvalidPageTokenError, NotFoundError, SegmentUnreadableError
from job_store.history_records import (
    Bucket,
    HistoryPage,
    HistoryPoint,
    LatestMetrics,
    SampledStep,
    StoredLogLine,
    SystemSample,
)
from job_store.ids import check_id
from job_store.keys import Keys
from job_store.paging import TokenKey, page_bounds
from job_store.records import LAST_STEP, AttemptRecord, Page
from job_store.segments import AttemptReads, attempt_records

MAX_PAGE = 10_000
"""Points or log lines in a page at most."""

MAX_SAMPLED_STEPS = 20
"""Steps in a page of samples at most: 8 texts of 4,000 characters each are 2.5 MB in all where each
character has four bytes, and an answer of gRPC has 4 MiB at most."""

MAX_BUCKETS = 2_000
"""Buckets in a chart at most."""


class HistoryStore:
    """Reads what attempts published, each logged step once.

    Args:
        connection: to Redis, which holds the newest points.
        archive: where older ones are read from.
    """

    def __init__(self, connection: AsyncConnection, archive: SegmentReader | None = None) -> None:
        self._db = connection
        self._archive = archive or NoArchive()
        self._keys = Keys(connection.prefix)
        self._tokens = TokenKey(connection)

    async def latest(self, job_id: str) -> LatestMetrics:
        """Return the latest value of each metric; step 0 and no values before the first point.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id("job", job_id)
        visible, stored = await self._db.pipeline(
            ("HGET", self._keys.job(job_id), "visible_step"),
            ("HGETALL", self._keys.job(job_id, "latest")),
        )
        if visible is None:
            await self._require(job_id)
        if not stored and visible and int(visible) > 0:
            return await self._latest_of_archive(job_id)
        values: dict[str, float] = {}
        steps: dict[str, int] = {}
        for name, packed in stored.items():
            step, value = struct.unpack("<dd", packed)
            values[name.decode()], steps[name.decode()] = value, int(step)
        return LatestMetrics(job_id, max(steps.values(), default=0), values, steps)

    async def _latest_of_archive(self, job_id: str) -> LatestMetrics:
        """Return the latest values after a cut so far back that Redis holds no point before it.

        A chart has the buckets where each metric was logged last; pages have its step and value.
        """
        last_bucket: dict[str, Bucket] = {}
        for bucket in await self.chart(job_id, MAX_BUCKETS):
            last_bucket |= dict.fromkeys(bucket.metrics, bucket)
        values: dict[str, float] = {}
        steps: dict[str, int] = {}
        for first, last in {
            (bucket.first_step, bucket.last_step) for bucket in last_bucket.values()
        }:
            start = max(first, last + 1 - MAX_PAGE)
            page = await self.page(job_id, from_step=start, to_step=last, page_size=MAX_PAGE)
            for point in page.points:
                for name, value in point.values.items():
                    if point.step >= steps.get(name, 0):
                        values[name], steps[name] = value, point.step
        return LatestMetrics(job_id, max(steps.values(), default=0), values, steps)

    async def page(
        self,
        job_id: str,
        *,
        after_step: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        page_size: int = 1000,
        page_token: str = "",
    ) -> HistoryPage:
        """Return raw points in ascending order.

        The next page needs the same `to_step`; where it begins is in the token.

        Raises:
            NotFoundError: There is no such record.
            InvalidPageTokenError: The token is damaged or of another list.
            SegmentUnreadableError: A file of old points cannot be read.
        """
        check_id("job", job_id)
        first, last = _bounds(after_step, from_step, to_step)
        first = max(first, await self._first_of_page(page_token, "points", job_id))
        size = page_bounds(page_size, MAX_PAGE)
        reply = await self._db.run("read_points", job_id, first, last, size + 1)
        schemas, packed, files, first_raw = reply or ([], b"", [], b"")
        points = await self._read(job_id, schemas, packed, files, size + 1)
        token = ""
        if len(points) > size:
            token = (await self._tokens.codec()).encode("points", job_id, points[size - 1].step)
        return HistoryPage(tuple(points[:size]), token, int(first_raw) if first_raw else None)

    async def _read(
        self, job_id: str, schemas: Sequence[bytes], packed: bytes, files: Any, limit: int
    ) -> list[HistoryPoint]:
        try:
            return await read_visible(self._archive, _pairs(schemas), packed, files, limit)
        except SegmentUnreadableError:
            await self._require(job_id)  # a deleted job's files are gone too
            raise

    async def _require(self, job_id: str) -> None:
        if not await self._db.command("EXISTS", self._keys.job(job_id)):
            raise NotFoundError("job", job_id)

    async def chart(
        self,
        job_id: str,
        max_points: int,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
    ) -> Sequence[Bucket]:
        """Return the history in at most `max_points` buckets that keep minimum, maximum and last.

        Raises:
            NotFoundError: There is no such record.
            SegmentUnreadableError: A file of old points cannot be read.
        """
        check_id("job", job_id)
        limit = page_bounds(max_points, MAX_BUCKETS)
        first, last = _bounds(None, from_step, to_step)
        reply = await self._db.run("read_chart", job_id, first, last, limit)
        level, schemas, packed, files, *parts = reply or [0, [], b"", []]
        points = await self._read(job_id, schemas, packed, files, sys.maxsize)
        if level == 0:  # short enough to be read point by point
            return buckets_of(points, limit)
        buckets = [bucket_of([point]) for point in points]
        for columns, stored in zip(parts[::2], parts[1::2], strict=True):
            buckets += unpack_buckets(columns.decode().split(","), stored)
        buckets.sort(key=lambda bucket: bucket.first_step)
        return reduce_to(join_small(buckets, 1 << level), limit)

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return the job's attempts and the steps that readers see of each."""
        check_id("job", job_id)
        index = await self._db.command("HGETALL", self._keys.job(job_id, "attempts"))
        reads = AttemptReads(self._keys, job_id, index)
        replies = await self._db.transaction(*reads.commands) if reads.commands else []
        return attempt_records(reads, replies)

    async def logs(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[StoredLogLine]:
        """Return log lines of all attempts (or one), oldest first.

        Raises:
            NotFoundError: There is no such record.
            InvalidPageTokenError: The token is damaged or of another list.
        """
        attempts = await self._log_attempts(job_id)
        if attempt is not None:
            attempts = [n for n in attempts if n == attempt]
        at, start = 0, "-"
        if page_token:
            at, seq = await self._position(page_token, "logs", job_id, 2)
            start = f"({seq}-1"
        size = page_bounds(page_size, MAX_PAGE)
        lines: list[StoredLogLine] = []
        for n in [n for n in attempts if n >= at]:
            key = self._keys.job(job_id, "logs", n)
            first = start if n == at else "-"
            entries = await self._db.command(
                "XRANGE", key, first, "+", "COUNT", size + 1 - len(lines)
            )
            lines += [_log_line(n, entry) for entry in entries]
            if len(lines) > size:
                break
        if len(lines) <= size:
            return Page(tuple(lines), "")
        last = lines[size - 1]
        token = (await self._tokens.codec()).encode("logs", job_id, last.attempt, last.seq)
        return Page(tuple(lines[:size]), token)

    async def samples(
        self,
        job_id: str,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
        page_size: int = MAX_SAMPLED_STEPS,
        page_token: str = "",
    ) -> Page[SampledStep]:
        """Return what the model made of the prompts at each step, ascending, each step once.

        Raises:
            NotFoundError: There is no such record.
            InvalidPageTokenError: The token is damaged or of another list.
        """
        check_id("job", job_id)
        first, last = _bounds(None, from_step, to_step)
        first = max(first, await self._first_of_page(page_token, "samples", job_id))
        size = page_bounds(page_size, MAX_SAMPLED_STEPS)
        found = await self._db.run("read_samples", job_id, first, last, size + 1) or []
        steps = [decode_samples(attempt, int(step), text) for attempt, step, text in found]
        token = ""
        if len(steps) > size:
            token = (await self._tokens.codec()).encode("samples", job_id, steps[size - 1].step)
        return Page(tuple(steps[:size]), token)

    async def alerts(self, job_id: str) -> Sequence[Alert]:
        """Return which rules of the job's alerts have fired, oldest first.

        Raises:
            NotFoundError: There is no such record.
        """
        key = self._keys.job(check_id("job", job_id))
        there, stored = await self._db.command("HMGET", key, "v", "alerts")
        if there is None:
            raise NotFoundError("job", job_id)
        return decode_alerts((stored or b"").decode())

    async def system(self, job_id: str) -> Sequence[SystemSample]:
        """Return what the job's processes used, oldest first, all attempts together.

        Raises:
            NotFoundError: There is no such record.
        """
        check_id("job", job_id)
        there, stored = await self._db.transaction(
            ("EXISTS", self._keys.job(job_id)), ("LRANGE", self._keys.job(job_id, "system"), 0, -1)
        )
        if not there:
            raise NotFoundError("job", job_id)
        parts = [sample.split(b"\n") for sample in stored]
        return [
            SystemSample(int(attempt), int(time_ms), json.loads(values))
            for attempt, time_ms, values in parts
        ]

    async def _first_of_page(self, token: str, kind: str, job_id: str) -> int:
        """Return the step with which the page of a token begins; 0 without one."""
        return (await self._position(token, kind, job_id, 1))[0] + 1 if token else 0

    async def _position(self, token: str, kind: str, job_id: str, parts: int) -> list[int]:
        try:
            position = [int(p) for p in await self._tokens.decode(token, kind, job_id)]
        except ValueError as error:
            raise InvalidPageTokenError(token, str(error)) from error
        if len(position) != parts:
            raise InvalidPageTokenError(token, "it is of another version")
        return position

    async def log_tail(self, job_id: str, lines: int = 50) -> str:
        """Return the last lines of the newest attempt that wrote any."""
        for n in reversed(await self._log_attempts(job_id)):
            entries = await self._db.command(
                "XREVRANGE", self._keys.job(job_id, "logs", n), "+", "-", "COUNT", lines
            )
            if entries:
                return "\n".join(_log_line(n, entry).text for entry in reversed(entries))
        return ""

    async def _log_attempts(self, job_id: str) -> list[int]:
        check_id("job", job_id)
        exists, numbers = await self._db.pipeline(
            ("EXISTS", self._keys.job(job_id)), ("HKEYS", self._keys.job(job_id, "attempts"))
        )
        if not exists:
            raise NotFoundError("job", job_id)
        return sorted(int(number) for number in numbers)


def _bounds(after: int | None, first: int | None, last: int | None) -> tuple[int, int]:
    lowest = max(0, first or 0, 0 if after is None else after + 1)
    return min(lowest, LAST_STEP), max(-1, min(LAST_STEP if last is None else last, LAST_STEP))


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _log_line(attempt: int, entry: Any) -> StoredLogLine:
    id, fields = entry
    return decode_log_line(attempt, int(id.split(b"-")[0]), fields[b"l"])
