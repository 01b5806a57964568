"""Follows a job's events for one client, also across restarts of the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import grpc

from gateway.contract import answer_to_plain
from gateway.control_plane import Caller
from gateway.streaming import PING, event
from service_runtime.backoff import pause_seconds
from training_engine.messages import enum_words
from training_engine.v1 import job_pb2

_RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 2.0


@cache
def ended_states() -> frozenset[int]:
    """Return the numbers of the states in which a job stays until it is resumed or deleted."""
    from training_engine.records import JobStatus  # 40 ms, which a start need not take

    words = enum_words(job_pb2.JobStatus.DESCRIPTOR)
    return frozenset(number for number, word in words.items() if JobStatus(word).is_terminal)


class JobFollower:
    """Watches one job; after an outage of the control plane it continues from its last cursor."""

    def __init__(
        self,
        caller: Caller,
        job_id: str,
        *,
        after: str,
        after_step: int | None,
        closing: asyncio.Event,
    ) -> None:
        self._caller = caller
        self._job_id = job_id
        self._cursor = after
        self._after_step = after_step
        self._closing = closing
        self._call: Any = None
        self._reading: asyncio.Future[Any] | None = None

    async def has_answer(self, wait_seconds: float) -> bool:
        """Return False if the watch ended within `wait_seconds`, without an event.

        It waits so that a refusal (of an unknown cursor, say) can still become an HTTP status.

        Raises:
            AioRpcError: The control plane refuses the watch.
        """
        reading = self._read()
        await asyncio.wait({reading}, timeout=wait_seconds)
        if not reading.done():
            return True
        return reading.result() is not grpc.aio.EOF

    async def events(self, ping_seconds: float) -> AsyncIterator[bytes]:
        """Return encoded events and pings, until the job has ended or the gateway closes."""
        closing = asyncio.ensure_future(self._closing.wait())
        failures = 0
        try:
            while not closing.done():
                reading = self._read()
                await asyncio.wait(
                    {reading, closing}, timeout=ping_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if not reading.done():
                    yield PING
                    continue
                try:
                    message = self._result(reading)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _RETRYABLE:
                        return  # deleted meanwhile: the client's next connection gets a status
                    yield PING  # sending also shows whether the client is still there
                    failures += 1
                    pause = pause_seconds(failures, _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
                    await asyncio.wait({closing}, timeout=pause)
                    continue
                if message is grpc.aio.EOF:
                    return
                failures = 0
                self._cursor = message.cursor
                yield encoded(message)
        finally:
            closing.cancel()
            await self.close()

    def _read(self) -> asyncio.Future[Any]:
        """Return the read under way, or begin one; it goes on while pings are sent."""
        if self._reading is None:
            if self._call is None:
                self._call = self._caller.control_plane.jobs.WatchJob(
                    job_pb2.WatchJobRequest(
                        job_id=self._job_id, after=self._cursor, after_step=self._after_step
                    ),
                    metadata=self._caller.metadata,
                )
            self._reading = asyncio.ensure_future(self._call.read())
        return self._reading

    def _result(self, reading: asyncio.Future[Any]) -> Any:
        """Return what a finished read brought; after an error the next read opens a new watch."""
        self._reading = None
        try:
            return reading.result()
        except grpc.aio.AioRpcError:
            self._call = None
            raise

    async def close(self) -> None:
        """End the watch."""
        if self._call is not None:
            self._call.cancel()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            if not self._reading.cancelled():
                self._reading.exception()
            self._reading = None


def encoded(message: job_pb2.WatchJobResponse) -> bytes:
    """Return one event as the client gets it; of an unknown kind only its cursor is sent."""
    kind = message.WhichOneof("event")
    if kind is None:
        return b"id: " + message.cursor.encode() + b"\n\n"
    return event(kind, answer_to_plain(message)[kind], message.cursor)
