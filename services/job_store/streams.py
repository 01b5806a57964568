"""One merged, resumable view of a job's life, for any number of watchers.

    feeds = JobFeeds(connection)
    async for item in feeds.watch(job_id, after=cursor):
        ...  # item.event, item.cursor
    await feeds.close()

A watcher replays from its cursor and then follows the job's feed. The feed is the only task that
reads the job's streams from Redis, into a ring buffer that all watchers of the job read. A watcher
too slow for the ring replays again from its position. Positions only grow, so nothing is shown
twice; a replay begins after the place in the ring was noted, so nothing is left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from job_store.archive import NoArchive, SegmentReader, read_visible
from job_store.connection import AsyncConnection
from job_store.errors import (
    FeedsClosedError,
    InvalidCursorError,
    NotFoundError,
    SegmentUnreadableError,
    StoreUnavailableError,
)
from job_store.events import (
    CURSOR,
    Event,
    FeedReply,
    Item,
    LogEvent,
    Position,
    Snapshot,
    read_snapshot,
)
from job_store.ids import check_id
from job_store.keys import Keys
from job_store.paging import TokenKey
from job_store.records import LAST_STEP

RING_ITEMS = 4096
"""Items a watcher may fall behind before it replays from Redis."""

_BATCH = 500
_BLOCK_MS = 2500
# Below the 3 s that socket deadlines allow; also how soon a deleted job is noticed.


@dataclass(frozen=True, slots=True)
class FeedItem:
    """An event and the opaque cursor that continues after it."""

    event: Event
    cursor: str


class _Feed:
    """The one reader of a job's streams in this process."""

    def __init__(self, connection: AsyncConnection, archive: SegmentReader, job_id: str) -> None:
        self._db, self._archive = connection, archive
        self._job_id = job_id
        self._ring: deque[Item] = deque(maxlen=RING_ITEMS)
        self._changed = asyncio.Event()
        self.end_index = 0
        """Number of items so far; an item's index is its place among all of them."""
        self.ended = False
        self.error: Exception | None = None
        """The error that ended the reader; the watchers raise it."""
        self.ready = asyncio.Event()
        """Set once the reader has a position: from then on nothing is missed."""
        self.watchers = 0
        self._task = asyncio.create_task(self._read(), name=f"feed {job_id}")

    def after(self, index: int) -> list[Item] | None:
        """Return the items from this index on; None if the ring no longer holds them all."""
        missing = self.end_index - index
        if missing > len(self._ring):
            return None
        return [self._ring[i] for i in range(len(self._ring) - missing, len(self._ring))]

    async def changed(self, index: int) -> None:
        """Wait for items beyond `index`, or the end."""
        while self.end_index == index and not self.ended:
            await self._changed.wait()

    async def close(self) -> None:
        """Stop reading and wake every watcher."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._finish()

    def _finish(self) -> None:
        self.ended = True
        self.ready.set()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _read(self) -> None:
        position: Position | None = None
        pause = 0.1
        try:
            while True:
                try:
                    if position is None:
                        position = await end_position(self._db, self._job_id)
                        self.ready.set()
                    snapshot = await read_after(
                        self._db, self._archive, self._job_id, position, logs=True
                    )
                    self._publish(position, snapshot)
                    if snapshot.ended:
                        return
                    if not snapshot.more:
                        await self._wait(snapshot)
                    pause = 0.1
                except StoreUnavailableError:  # waited out: watchers keep their places
                    await asyncio.sleep(pause)
                    pause = min(1.0, 2 * pause)
        except NotFoundError:
            return  # deleted; the watchers find out by their own replay
        except Exception as error:
            self.error = error
        finally:
            self._finish()

    def _publish(self, position: Position, snapshot: Snapshot) -> None:
        before = self.end_index
        for item in snapshot.items:
            if position.advance_to(item):
                self._ring.append(item)
                self.end_index += 1
        if self.end_index > before:
            self._wake()

    async def _wait(self, snapshot: Snapshot) -> None:
        streams, ids = snapshot.wake[::2], snapshot.wake[1::2]
        await self._db.blocking_command(
            "XREAD", "COUNT", 1, "BLOCK", _BLOCK_MS, "STREAMS", *streams, *ids
        )


class JobFeeds:
    """Watches jobs with one Redis reader each, whatever the number of watchers.

    Args:
        connection: to Redis, which holds the newest points.
        archive: where older ones are read from.
    """

    def __init__(self, connection: AsyncConnection, archive: SegmentReader | None = None) -> None:
        self._db = connection
        self._archive = archive or NoArchive()
        self._tokens = TokenKey(connection)
        self._feeds: dict[str, _Feed] = {}
        self._closed = False

    async def watch(
        self,
        job_id: str,
        *,
        after: str | None = None,
        after_step: int | None = None,
        logs: bool = True,
    ) -> AsyncIterator[FeedItem]:
        """Yield all from the cursor (or the beginning), then live; end after the terminal state.

        `after_step` skips the points up to this step, until a rewind brings them again.
        An outage while live is waited out. A cursor past the end of a finished
        job gives an empty iteration.

        Raises:
            FeedsClosedError: This process shuts down.
        """
        check_id("job", job_id)
        position = await self._position(after, job_id) if after else Position()
        if after_step is not None:
            position.floor = max(position.floor, min(after_step, LAST_STEP))
        codec = await self._tokens.codec()
        watcher = _Watcher(self, job_id, position, logs)
        try:
            while (items := await watcher.next_items()) is not None:
                for item in items:
                    if position.advance_to(item):
                        yield FeedItem(item.event, position.cursor(job_id, codec))
        finally:
            await watcher.leave()

    async def look(self, job_id: str, position: Position, logs: bool) -> Snapshot:
        """Return what follows a position, from one consistent read."""
        self._check_open()
        return await read_after(self._db, self._archive, job_id, position, logs)

    async def close(self) -> None:
        """End all watches and readers."""
        self._closed = True
        feeds = list(self._feeds.values())
        self._feeds.clear()
        await asyncio.gather(*[feed.close() for feed in feeds])

    async def _position(self, cursor: str, job_id: str) -> Position:
        try:
            return Position.of_cursor(await self._tokens.decode(cursor, CURSOR, job_id))
        except ValueError as error:
            raise InvalidCursorError(cursor, str(error)) from error

    def _check_open(self) -> None:
        if self._closed:
            raise FeedsClosedError

    def join(self, job_id: str) -> _Feed:
        """Return the job's feed, and count one watcher more."""
        self._check_open()
        feed = self._feeds.get(job_id)
        if feed is None or feed.ended:
            feed = self._feeds[job_id] = _Feed(self._db, self._archive, job_id)
        feed.watchers += 1
        return feed

    async def leave(self, job_id: str, feed: _Feed) -> None:
        """Count one watcher less; the last one ends the feed."""
        feed.watchers -= 1
        if feed.watchers == 0:
            if self._feeds.get(job_id) is feed:
                del self._feeds[job_id]
            await feed.close()


class _Watcher:
    """One watch: looks at what follows its position, then takes the feed's items from the ring.

    Use `next_items` until it gives None, then `leave`; `position` is moved by the caller.
    """

    def __init__(self, feeds: JobFeeds, job_id: str, position: Position, logs: bool) -> None:
        self._feeds, self._job_id = feeds, job_id
        self._position, self._logs = position, logs
        self._feed = feeds.join(job_id)
        self._index = 0
        self._replays = True
        self._ended = False

    async def next_items(self) -> Sequence[Item] | None:
        """Return what comes next, perhaps nothing yet; None after the end.

        Raises what `JobFeeds.watch` raises. An unknown job is an error before the first item.
        """
        if self._ended:
            return None
        return await self._replay() if self._replays else await self._follow()

    async def leave(self) -> None:
        """Leave the feed."""
        await self._feeds.leave(self._job_id, self._feed)

    async def _replay(self) -> Sequence[Item]:
        await self._feed.ready.wait()
        self._index = self._feed.end_index  # before the look, so that nothing is left out
        snapshot = await self._feeds.look(self._job_id, self._position, self._logs)
        self._ended, self._replays = snapshot.ended, snapshot.more
        return snapshot.items

    async def _follow(self) -> Sequence[Item]:
        items = self._feed.after(self._index)
        if items is None:  # too slow for the ring
            self._replays = True
        elif items:
            self._index += len(items)
            return [item for item in items if self._logs or not isinstance(item.event, LogEvent)]
        elif self._feed.error is not None:
            raise self._feed.error
        elif self._feed.ended:
            await self._join_again()
        else:
            await self._feed.changed(self._index)
        return ()

    async def _join_again(self) -> None:
        """Take a fresh feed after the job's end, since it may have been resumed by now."""
        ended, self._feed = self._feed, self._feeds.join(self._job_id)
        await self._feeds.leave(self._job_id, ended)
        self._replays = True


async def read_after(
    connection: AsyncConnection,
    archive: SegmentReader,
    job_id: str,
    position: Position,
    logs: bool,
) -> Snapshot:
    """Return what follows a position, from one consistent read.

    Raises:
        NotFoundError: There is no such record.
        SegmentUnreadableError: A file of old points cannot be read.
    """
    answer = await connection.run(
        "read_feed",
        job_id,
        f"{position.event[0]}-{position.event[1]}",
        position.known,
        *position.point,
        *position.log,
        _BATCH,
        int(logs),
        position.floor,
    )
    reply = FeedReply(*answer or ())
    schemas = dict(zip(reply.schemas[::2], reply.schemas[1::2], strict=True))
    try:
        points = await read_visible(archive, schemas, reply.packed, reply.files, _BATCH)
    except SegmentUnreadableError:
        if not await connection.command("EXISTS", Keys(connection.prefix).job(job_id)):
            raise NotFoundError("job", job_id) from None  # it was deleted, with its files
        raise
    return read_snapshot(position, reply, points, bool(reply.more) or len(points) >= _BATCH)


async def end_position(connection: AsyncConnection, job_id: str) -> Position:
    """Return the position behind all that is there now.

    Raises:
        NotFoundError: There is no such record.
    """
    keys = Keys(connection.prefix)
    fields, newest = await connection.transaction(
        ("HMGET", keys.job(job_id), "status", "attempt", "last_point", "last_log"),
        ("XREVRANGE", keys.job(job_id, "events"), "+", "-", "COUNT", 1),
    )
    status, attempt, last_point, last_log = fields
    if status is None:
        raise NotFoundError("job", job_id)
    milliseconds, sequence = newest[0][0].split(b"-") if newest else (b"0", b"0")
    point_attempt, step = (int(number) for number in last_point.split(b":"))
    log_attempt, seq = (int(number) for number in last_log.split(b":"))
    started = int(attempt) - 1 if status == b"queued" else int(attempt)
    return Position(
        event=(int(milliseconds), int(sequence)),
        known=started,
        point=(point_attempt, step),
        log=(log_attempt, seq),
    )
