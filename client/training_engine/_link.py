# Generated from _aio_link.py by client/generate_sync.py; run: make sync
"""Calls with retries, paging, streams and transfers that survive a lost connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

from training_engine import _calls
from training_engine._call import Call, ListCall, RecordCall
from training_engine._files import PartialFile, Progress
from training_engine._following import Follower, broken_off, check_finished
from training_engine._guard import closed_behind
from training_engine._options import Options
from training_engine._retry import RetryDeadline
from training_engine._transport import BucketAwayError, Transport
from training_engine.errors import NotFoundError, TrainingEngineError
from training_engine.records import JobStatus, Page, Plain, read

T = TypeVar("T")


class Link:
    """One engine's connection. Every call may be repeated: it reads, or carries a request_id."""

    def __init__(self, transport: Transport, options: Options) -> None:
        self._transport = transport
        self._options = options

    def close(self) -> None:
        self._transport.close()

    def _retry(self, attempt: Callable[[], T]) -> T:
        retries = RetryDeadline(self._options.retry_for)
        while True:
            try:
                return attempt()
            except TrainingEngineError as error:
                time.sleep(retries.delay_after(error))

    def unary(self, call: Call) -> Plain:
        """Send a call, again while the service is away."""
        return self._retry(lambda: self._transport.unary(call))

    def record(self, call: RecordCall[T]) -> T:
        """Send a call and read its answer."""
        return read(call.record, self.unary(call))

    def page(self, call: ListCall[T]) -> Page[T]:
        """Fetch one page of a list."""
        plain = self.unary(call)
        rows = tuple(read(call.record, row) for row in plain.get(call.rows) or ())
        return Page(rows, plain.get("next_page_token") or "")

    def rows(self, call: ListCall[T]) -> Iterator[T]:
        """Yield the rows of a list, page after page."""
        while True:
            page = self.page(call)
            yield from page
            if not page.next_page_token:
                return
            call = call.of_page(page.next_page_token)

    def upload(self, call: Call, path: Path, size_bytes: int) -> Plain:
        """Send a file, from its start again while the service is away."""
        return self._retry(lambda: self._transport.upload(call, path, size_bytes))

    def follow(self, job_id: str, call: Call, follower: Follower[T]) -> Iterator[T]:
        """Read a job's stream to its end, across as many connections as it takes."""
        # An unknown job or an absent service shows here, before streams are retried.
        first = self.unary(_calls.get_job(job_id))
        over = self._is_over(first)
        follower.attempt = first.get("attempt", 0)
        while True:
            failure: TrainingEngineError | None = None
            follower.connecting()
            try:
                events = self._transport.events(call, follower.cursor, follower.after_step)
                with closed_behind(events):
                    for plain in events:
                        yield from follower.receive(plain)
                if follower.at_end or over:
                    return
                # A server that stops ends its streams too: what the job did meanwhile is still
                # to be read, so an end counts once the job had ended before the stream began.
                job = self._job(job_id)
                if job is None:
                    return  # deleted since
                if over := self._is_over(job):
                    continue
            except TrainingEngineError as error:
                failure = error
            time.sleep(follower.delay_after(failure))

    def _job(self, job_id: str) -> Plain | None:
        try:
            return self._transport.unary(_calls.get_job(job_id))
        except NotFoundError:
            return None

    @staticmethod
    def _is_over(job: Plain) -> bool:
        return JobStatus(job["status"]).is_terminal

    def tokens(self, call: Call) -> Iterator[Plain]:
        """Read a generation; repeated only while nothing has come, for samples differ."""
        retries = RetryDeadline(self._options.retry_for)
        last: Plain | None = None
        while True:
            try:
                tokens = self._transport.answers(call)
                with closed_behind(tokens):
                    for plain in tokens:
                        last = plain
                        yield plain
                check_finished(call, last)
                return
            except TrainingEngineError as error:
                if last is not None:
                    raise
                time.sleep(retries.delay_after(error))

    def evaluation(self, call: Call, progress: Progress | None) -> Plain:
        """Follow an evaluation to its result; one that broke off is begun again."""
        retries = RetryDeadline(self._options.reconnect_for)
        while True:
            try:
                answers = self._transport.answers(call)
                with closed_behind(answers):
                    for plain in answers:
                        retries.progressed()
                        if progress is not None:
                            progress(plain["tokens_done"], plain["tokens_total"])
                        if (result := plain.get("evaluation")) is not None:
                            return cast("Plain", result)
                raise broken_off("evaluation")
            except TrainingEngineError as error:
                time.sleep(retries.delay_after(error))

    def download(self, call: Call, part: PartialFile) -> None:
        """Fetch what a partial file lacks, across broken connections."""
        retries = RetryDeadline(self._options.reconnect_for)
        by_url = True
        part.catch_up()
        if part.offset:
            part.report()
        while not part.complete:
            try:
                pieces = self._transport.download(call, part.offset, by_url)
                with closed_behind(pieces):
                    for offset, data in pieces:
                        part.write(offset, data)
                        part.report()
                        retries.progressed()
                if not part.complete:
                    return  # ended in order but short: the checksum tells
            except TrainingEngineError as error:
                by_url = by_url and not isinstance(error, BucketAwayError)
                time.sleep(retries.delay_after(error))
