"""Whether what was written is in the server's append-only file, and so survives its death.

A reply does not prove it: with `appendfsync everysec` the server keeps its writes in memory while
its disk is slow, and answers meanwhile. WAITAOF waits for the file. It counts the writes of its own
connection, so a small write goes before it: what all other connections were answered before that
write is in the file when WAITAOF says that the small write is.

A server that was started again in between may have forgotten the write, and confirms the small one
all the same. So the state that matters is read again just before the small write, on the same
connection. What these reads answer is then a fact that stays.

Behind Sentinel the server's whole machine may be lost: there WAIT asks in the same way whether a
replica, which may take over, has the small write, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from job_store.errors import JobStoreError, NotOnDiskError

logger = logging.getLogger(__name__)

DISK_SECONDS = 5.0
"""Longest time to wait for the server's file."""

SETTLED_SECONDS = 3.0
"""Within this time a server with `appendfsync everysec` has begun to sync a write."""

_MOST_ROUNDS = 8
# Questions to the server at the same time. One is enough while it answers promptly: calls that come
# meanwhile share the next question. While it waits for its disk, later calls ask at once.

_GATHER_SECONDS = 0.003
# Pause between two questions of a busy process. A question costs as much as a call's own work,
# whether one call or twenty share it.

_REPLICA_SECONDS = 1.0
# How often a server behind Sentinel is asked: it may be frozen, and another one the primary by now.

_PROMPT_SECONDS = 0.02
_FIRST_NUDGE_SECONDS, _BUSY_NUDGE_SECONDS, _LONGEST_NUDGE_SECONDS = 0.0005, 0.005, 0.1
_MARK_MS = 30 * 24 * 3600 * 1000

_NO_FILE = "appendonly is disabled"
_NO_COMMAND = "unknown command"
_LOST = "a server that dies or loses power may forget what it has just confirmed"


def _why_unable(reply: Any) -> str | None:
    """Return why a server cannot say what is in its file; None where `reply` is not about that."""
    if isinstance(reply, NoPermissionError):
        return "it forbids WAITAOF; allow that command"
    if isinstance(reply, ResponseError) and _NO_FILE in str(reply):
        return "it has no append-only file; set `appendonly yes`"
    if isinstance(reply, ResponseError) and _NO_COMMAND in str(reply):
        return "it does not know WAITAOF; Valkey, or Redis from 7.2 on, does"
    return None


class _Verdicts:
    """Reads the answers of WAITAOF, and logs once that a server cannot confirm its writes."""

    def __init__(self) -> None:
        self._said = False

    def is_on_disk(self, reply: Any) -> bool:
        """Return whether the write is on disk; True also where the server cannot say.

        Raises:
            redis.RedisError: The server does not answer the question.
        """
        if (why := _why_unable(reply)) is not None:
            self.say(why)
            return True
        _raise_first([reply])
        return int(reply[0]) >= 1

    def say(self, why: str) -> None:
        """Log, once in a process, that this server cannot confirm its writes, and why."""
        if not self._said:
            self._said = True
            logger.warning("the Redis server cannot confirm its writes: %s. %s", why, _LOST)


class _Pipeline(Protocol):
    def __call__(
        self, *commands: tuple[Any, ...], seconds: float
    ) -> Coroutine[Any, Any, list[Any]]: ...


@dataclass
class _Question:
    reads: Sequence[tuple[Any, ...]]
    answer: asyncio.Future[list[Any]]


def _mark(prefix: str) -> tuple[tuple[Any, ...], ...]:
    """Return the small write whose place in the file is waited for, as two commands.

    A full server refuses SET, but PEXPIRE is a write as well where it finds the key. So of their
    replies `moved or made` is an error where nothing was written.
    """
    key = f"{prefix}disk"
    return ("SET", key, "1", "NX"), ("PEXPIRE", key, _MARK_MS)


class DiskBarrier:
    """Lets the control plane's calls wait until their writes are on disk.

    Calls that wait at the same time share a few questions to the server.

    Args:
        pipeline: sends commands on one connection; an error is among the replies.
        prefix: of all keys.
        replicas: how many of them must have the write as well.
    """

    def __init__(self, pipeline: _Pipeline, prefix: str, replicas: int = 0) -> None:
        self._pipeline = pipeline
        self._replicas = replicas
        self._mark = _mark(prefix)
        self._verdicts = _Verdicts()
        self._waiting: list[_Question] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._rounds = 0
        """How many loops ask the server now."""
        self._never_syncs = False
        self.seconds = DISK_SECONDS

    async def facts(self, *reads: tuple[Any, ...]) -> list[Any]:
        """Return the replies of these reads, once all that they depend on is in the server's file.

        Raises:
            NotOnDiskError: That takes too long.
            StoreUnavailableError: Redis does not answer.
            redis.RedisError: Redis answers with an error.
        """
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Question(reads, answer))
        if self._rounds == 0:
            self._begin_rounds()
        return await answer

    def _begin_rounds(self) -> None:
        self._rounds += 1
        rounds = asyncio.create_task(self._ask_for_all(), name="disk barrier")
        self._tasks.add(rounds)
        rounds.add_done_callback(self._tasks.discard)

    async def look(self) -> None:
        """Log it where this server cannot confirm its writes.

        Raises:
            StoreUnavailableError: Redis does not answer.
            redis.RedisError: Redis answers with an error.
        """
        if await self._syncs():
            *_, reply = await self._pipeline(("WAITAOF", 1, 0, 1), seconds=1.0)
            self._verdicts.is_on_disk(reply)

    async def _ask_for_all(self) -> None:
        """Ask for those that wait, until none is left."""
        busy = False
        while self._waiting:
            if busy:
                await asyncio.sleep(_GATHER_SECONDS)
            busy = True
            questions, self._waiting = self._waiting, []
            try:
                await self._ask(questions)
            except Exception as error:
                for question in questions:
                    if not question.answer.done():
                        question.answer.set_exception(error)
        self._rounds -= 1  # here, not when the task is done: a call in between would wait for ever

    async def _ask(self, questions: Sequence[_Question]) -> None:
        reads = [words for question in questions for words in question.reads]
        deadline = time.monotonic() + self.seconds
        # Where its clock is set forward, the server answers before the time is over: ask again.
        while (answers := await self._confirmed(reads, deadline)) is None:
            if time.monotonic() >= deadline:
                raise NotOnDiskError(self.seconds, self._replicas)
            await asyncio.sleep(_PROMPT_SECONDS)
        for question in questions:
            count = len(question.reads)
            if not question.answer.done():
                question.answer.set_result(answers[:count])
            answers = answers[count:]

    async def _confirmed(
        self, reads: Sequence[tuple[Any, ...]], deadline: float
    ) -> list[Any] | None:
        """Return the replies of the reads; None where the server has not confirmed its writes."""
        seconds = max(0.001, deadline - time.monotonic())
        if self._replicas:
            seconds = min(seconds, _REPLICA_SECONDS)
        wait = _questions(self._replicas, math.ceil(seconds * 1000), not self._never_syncs)
        asked = asyncio.create_task(self._pipeline(*reads, *self._mark, *wait, seconds=seconds + 1))
        # Where several ask, others will soon: their commands wake the server too.
        pause = _FIRST_NUDGE_SECONDS if len(reads) == 1 else _BUSY_NUDGE_SECONDS
        waking = asyncio.create_task(self._wake_server(asked, pause))
        self._tasks.add(waking)
        waking.add_done_callback(self._tasks.discard)
        replies = await asked
        answers, (made, moved, *waited) = replies[: len(reads)], replies[len(reads) :]
        _raise_first([*answers, moved or made])
        if self._replicas and not _has_replicas(waited.pop(), self._replicas):
            return None
        if waited and not self._verdicts.is_on_disk(waited[0]) and await self._syncs():
            return None
        return answers

    async def _wake_server(self, asked: asyncio.Task[list[Any]], pause: float) -> None:
        """Send small commands until the question is answered; begin other rounds if that is slow.

        Valkey sees that its file has what a waiting connection wrote when it next wakes up: a tenth
        of a second later where no other request arrives.
        """
        while True:
            await asyncio.wait([asked], timeout=pause)
            if asked.done():
                return
            with contextlib.suppress(JobStoreError, RedisError, OSError):
                await self._pipeline(("PING",), seconds=1.0)
            pause = min(2 * pause, _LONGEST_NUDGE_SECONDS)
            if pause > _PROMPT_SECONDS and self._waiting and self._rounds < _MOST_ROUNDS:
                self._begin_rounds()

    async def _syncs(self) -> bool:
        """Whether the server syncs its file at all; a server that does not would never confirm."""
        (found,) = await self._pipeline(("CONFIG", "GET", "appendfsync"), seconds=1.0)
        if isinstance(found, Exception):
            return True  # it does not say
        self._never_syncs = _pairs(found).get("appendfsync") == "no"
        if self._never_syncs:
            self._verdicts.say("it has `appendfsync no`; set everysec or always")
        return not self._never_syncs


class _Link(Protocol):
    """A connection that announces its renewal, see `Connection.open`."""

    prefix: str
    replicas: int

    def replies(self, *commands: tuple[Any, ...]) -> list[Any]: ...

    def check(self, reply: Any) -> Any: ...


class DiskWatch:
    """Checks for a worker that what was written before a moment survives the server's death.

    Each thread needs one of its own. Where a method raises StoreUnavailableError, the connection
    may have been renewed: call `begin` again, and check what the server still knows.
    """

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._mark = _mark(link.prefix)
        self._verdicts = _Verdicts()
        self._written_at: float | None = None
        self._synced = False

    def begin(self) -> None:
        """Remember this moment.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        self._written_at, self._synced = None, False
        self._write_mark()

    def is_written(self, seconds: float = 0.001) -> bool:
        """Whether the server's own death cannot undo what was answered before `begin`.

        Waits at most `seconds` for that; True where the server cannot say.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        replicas = self._link.replicas
        questions = _questions(replicas, max(1, int(seconds * 1000)), asks_file=True)
        reply, *waited = self._link.replies(*questions)
        if _why_unable(reply) is None:
            self._link.check(reply)
        held = all(_has_replicas(self._link.check(count), replicas) for count in waited)
        return held and self._verdicts.is_on_disk(reply)

    def is_settled(self, pause_seconds: float = SETTLED_SECONDS) -> bool:
        """Whether a loss of power cannot undo it either; does not wait.

        A server with `appendfsync everysec` begins to sync within a second after the write, and
        some confirm before that sync has ended: so once `pause_seconds` have passed it is asked
        again, and answers when no sync is under way.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        if self._written_at is None:
            if self.is_written():
                self._written_at = time.monotonic()
            return False
        if time.monotonic() - self._written_at < pause_seconds:
            return False
        if not self._synced:
            self._write_mark()
            self._synced = True
        return self.is_written()

    def _write_mark(self) -> None:
        made, moved = self._link.replies(*self._mark)
        self._link.check(moved or made)


def _questions(replicas: int, milliseconds: int, asks_file: bool) -> list[tuple[Any, ...]]:
    """Return the commands that wait for the file, and for this many replicas."""
    file = [("WAITAOF", 1, 0, milliseconds)] if asks_file else []
    return [*file, *([("WAIT", replicas, milliseconds)] if replicas else [])]


def _has_replicas(reply: Any, replicas: int) -> bool:
    """Return whether so many replicas have the write.

    Raises:
        redis.RedisError: The server does not answer the question.
    """
    _raise_first([reply])
    return int(reply) >= replicas


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def _pairs(reply: Any) -> dict[str, str]:
    """Return CONFIG GET's reply, which differs between the two protocols, as a mapping."""
    if isinstance(reply, dict):
        return {_text(name): _text(value) for name, value in reply.items()}
    return {_text(name): _text(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
