"""Hands attempts to workers through RQ.

The queue is transport only: a message may come twice, late or never. The job record decides whether
a message still counts.

A message carries two plain arguments, encoded as JSON; nothing in it is ever unpickled. RQ's own
classes build it; the commands that they queue are then sent in one round trip on the asyncio
connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from job_store.connection import AsyncConnection
from job_store.queues import QUEUE_NAMES, RUN_ATTEMPT, own_queue, queue_name

_KEEP_WAITING_SECONDS = 7 * 86_400
"""RQ's record of a message expires then. Nothing else deletes it where its worker was killed behind
the pop, or Redis refused the deletion. A job that waits longer gets another message."""
_KEEP_DONE_SECONDS = 60
_KEEP_FAILED_SECONDS = 86_400
_MOST = 64
"""Messages that are sent in one transaction."""


def message_id(job_id: str, attempt: int) -> str:
    """Return the RQ job id of an attempt's message: the same for every copy of it."""
    return f"{job_id}-{attempt}"


class AttemptQueue:
    """Writes messages, and lists those that are waiting."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        # RQ wants a synchronous client; this one only collects commands and never connects.
        self._collector = redis.Redis()
        self._queues = {name: _queue(name, self._collector) for name in QUEUE_NAMES}
        self._messages = connection.batches(self._transact, _MOST)

    async def send(self, job_id: str, attempt: int, priority: str, device: str) -> None:
        """Put the attempt's message at the end of its queue.

        `priority` and `device` are those of the job's execution.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        queue = self._queues[queue_name(priority, device)]
        await self._messages.add(self._commands(job_id, attempt, queue))

    async def send_to_own(self, job_id: str, attempt: int) -> None:
        """Put the attempt's message into the queue of the workers that are there for this job.

        `waiting` does not list it: where they have left meanwhile, it is sent again.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        queue = _queue(own_queue(job_id), self._collector)
        await self._messages.add(self._commands(job_id, attempt, queue))

    async def _transact(self, messages: Sequence[list[tuple[Any, ...]]]) -> Sequence[None]:
        # Each message enters its queue's name in RQ's list of queues: once is enough.
        commands = dict.fromkeys(words for message in messages for words in message)
        await self._connection.transaction(*commands)
        return [None] * len(messages)

    def _commands(self, job_id: str, attempt: int, queue: Queue) -> list[tuple[Any, ...]]:
        """Return the commands that RQ would send to enqueue the message."""
        message = Job.create(
            RUN_ATTEMPT,
            args=(job_id, attempt),
            id=message_id(job_id, attempt),
            connection=self._collector,
            serializer=JSONSerializer,
            timeout=-1,  # a training run has no deadline
            ttl=_KEEP_WAITING_SECONDS,
            result_ttl=_KEEP_DONE_SECONDS,
            failure_ttl=_KEEP_FAILED_SECONDS,
        )
        pipeline = self._collector.pipeline(transaction=True)
        queue.enqueue_job(message, pipeline=pipeline)
        return [arguments for arguments, _options in pipeline.command_stack]

    async def waiting(self) -> set[str]:
        """Return the ids of all messages that wait in a queue.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        lists = await self._connection.pipeline(
            *(("LRANGE", queue.key, 0, -1) for queue in self._queues.values())
        )
        return {entry.decode() for entries in lists for entry in entries}


def _queue(name: str, connection: redis.Redis) -> Queue:
    queue = Queue(name, connection=connection, serializer=JSONSerializer)
    # Set here, since RQ would ask the server for it and the collector has no server.
    queue.redis_server_version = (7, 0, 0)
    return queue
