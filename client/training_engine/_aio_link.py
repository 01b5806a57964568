"""Calls with retries, paging, streams and transfers that survive a lost connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

from training_engine import _calls
from training_engine._aio_guard import closed_behind
from training_engine._aio_transport import AsyncTransport, BucketAwayError
from training_engine._call import Call, ListCall, RecordCall
from training_engine._files import PartialFile, Progress
from training_engine._following import Follower, broken_off, check_finished
from training_engine._options import Options
from training_engine._retry import RetryDeadline
from training_engine.errors import NotFoundError, TrainingEngineError
from training_engine.records import JobStatus, Page, Plain, read

T = TypeVar("T")


class AsyncLink:
    """One engine's connection. Every call may be repeated: it reads, or carries a request_id."""

    def __init__(self, transport: AsyncTransport, options: Options) -> None:
        self._transport = transport
        self._options = options

    async def close(self) -> None:
        await self._transport.close()

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        retries = RetryDeadline(self._options.retry_for)
        while True:
            try:
                return await attempt()
            except TrainingEngineError as error:
                await asyncio.sleep(retries.delay_after(error))

    async def unary(self, call: Call) -> Plain:
        """Send a call, again while the service is away."""
        return await self._retry(lambda: self._transport.unary(call))

    async def record(self, call: RecordCall[T]) -> T:
        """Send a call and read its answer."""
        return read(call.record, await self.unary(call))

    async def page(self, call: ListCall[T]) -> Page[T]:
        """Fetch one page of a list."""
        plain = await self.unary(call)
        rows = tuple(read(call.record, row) for row in plain.get(call.rows) or ())
        return Page(rows, plain.get("next_page_token") or "")

    async def rows(self, call: ListCall[T]) -> AsyncIterator[T]:
        """Yield the rows of a list, page after page."""
        while True:
            page = await self.page(call)
            for row in page:
                yield row
            if not page.next_page_token:
                return
            call = call.of_page(page.next_page_token)

    async def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        """Send a file, from its start again while the service is away."""
        return await self._retry(lambda: self._transport.upload(call, path, size_bytes))

    async def follow(self, job_id: str, call: Call, follower: Follower[T]) -> AsyncIterator[T]:
        """Read a job's stream to its end, across as many connections as it takes."""
        # An unknown job or an absent service shows here, before streams are retried.
        first = await self.unary(_calls.get_job(job_id))
        over = self._is_over(first)
        follower.attempt = first.get("attempt", 0)
        while True:
            failure: TrainingEngineError | None = None
            follower.connecting()
            try:
                events = self._transport.events(call, follower.cursor, follower.after_step)
                async with closed_behind(events):
                    async for plain in events:
                        for item in follower.receive(plain):
                            yield item
                if follower.at_end or over:
                    return
                # A server that stops ends its streams too: what the job did meanwhile is still
                # to be read, so an end counts once the job had ended before the stream began.
                job = await self._job(job_id)
                if job is None:
                    return  # deleted since
                if over := self._is_over(job):
                    continue
            except TrainingEngineError as error:
                failure = error
            await asyncio.sleep(follower.delay_after(failure))

    async def _job(self, job_id: str) -> Plain | None:
        try:
            return await self._transport.unary(_calls.get_job(job_id))
        except NotFoundError:
            return None

    @staticmethod
    def _is_over(job: Plain) -> bool:
        return JobStatus(job["status"]).is_terminal

    async def tokens(self, call: Call) -> AsyncIterator[Plain]:
        """Read a generation; repeated only while nothing has come, for samples differ."""
        retries = RetryDeadline(self._options.retry_for)
        last: Plain | None = None
        while True:
            try:
                tokens = self._transport.answers(call)
                async with closed_behind(tokens):
                    async for plain in tokens:
                        last = plain
                        yield plain
                check_finished(call, last)
                return
            except TrainingEngineError as error:
                if last is not None:
                    raise
                await asyncio.sleep(retries.delay_after(error))

    async def evaluation(self, call: Call, progress: Progress | None) -> Plain:
        """Follow an evaluation to its result; one that broke off is begun again."""
        retries = RetryDeadline(self._options.reconnect_for)
        while True:
            try:
                answers = self._transport.answers(call)
                async with closed_behind(answers):
                    async for plain in answers:
                        retries.progressed()
                        if progress is not None:
                            progress(plain["tokens_done"], plain["tokens_total"])
                        if (result := plain.get("evaluation")) is not None:
                            return cast("Plain", result)
                raise broken_off("evaluation")
            except TrainingEngineError as error:
                await asyncio.sleep(retries.delay_after(error))

    async def download(self, call: Call, part: PartialFile) -> None:
        """Fetch what a partial file lacks, across broken connections."""
        retries = RetryDeadline(self._options.reconnect_for)
        by_url = True
        await asyncio.to_thread(part.catch_up)
        if part.offset:
            part.report()
        while not part.complete:
            try:
                pieces = self._transport.download(call, part.offset, by_url)
                async with closed_behind(pieces):
                    async for offset, data in pieces:
                        await asyncio.to_thread(part.write, offset, data)
                        part.report()
                        retries.progressed()
                if not part.complete:
                    return  # ended in order but short: the checksum tells
            except TrainingEngineError as error:
                by_url = by_url and not isinstance(error, BucketAwayError)
                await asyncio.sleep(retries.delay_after(error))
