"""The history that an attempt writes: metric points, log lines, old points moved to the archive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from job_store.archive import Segment, Surplus, encode_document
from job_store.codec import encode_log_line, encode_samples, pack_point
from job_store.connection import Connection
from job_store.errors import JobStoreError
from job_store.history_records import MAX_LOG_LINE_BYTES, LogLine, MetricPoint
from job_store.ids import check_id
from job_store.keys import Keys
from job_store.records import FencingToken, Signals

T = TypeVar("T")

MAX_RAW_POINTS = 200_000
"""Raw points kept in Redis for each job; older ones go to the archive. Summaries stay."""

MAX_LOG_LINES = 5_000
"""Log lines kept of each of the last `LOGGED_ATTEMPTS` attempts."""

LOGGED_ATTEMPTS = 8
"""Attempts whose log lines are kept."""

_BATCH = 500
# Points in one script call: about 10 ms of the server's time.

_SEGMENT = 4096
# Points in a file of the archive: about 400 KB, read within milliseconds.

_MAX_COLUMNS = 100


class AttemptHistory:
    """The calls with which an attempt adds to its job's history."""

    def __init__(
        self,
        connection: Connection,
        *,
        max_raw_points: int = MAX_RAW_POINTS,
        max_log_lines: int = MAX_LOG_LINES,
    ) -> None:
        self._db = connection
        self._keys = Keys(connection.prefix)
        self._max_raw_points = max_raw_points
        self._max_log_lines = max_log_lines

    def publish_metrics(
        self,
        token: FencingToken,
        points: Sequence[MetricPoint],
        *,
        of_attempt: int | None = None,
    ) -> Signals:
        """Append points, in order. Those already there are counted as delivered.

        Readers see the points of an attempt that come after its start step. One at or before it,
        which an attempt measures where its predecessor was stopped in the middle of a validation,
        belongs to the earlier attempt that `attempt_showing` names.

        `of_attempt`: publish what an earlier attempt's stream lacks, up to its `end_step`
        (points beyond it are dropped and counted as delivered). To be done before the first own
        point. See `attempts()` for what each stream holds.

        Raises:
            FencedError: Another attempt has taken over.
        """
        target = (*token_arguments(token), _target(token, of_attempt))
        replies = []
        for batch in _batches(points):
            arguments = [argument for point in batch for argument in _point_arguments(point)]
            seen = _tokens_seen(batch)
            replies.append(self._db.run("publish_metrics", *target, seen, *arguments))
        return _sum(replies)

    @property
    def segment_points(self) -> int:
        """Points that go to the archive at a time."""
        return max(1, min(_SEGMENT, self._max_raw_points // 4))

    def surplus(self, token: FencingToken) -> Surplus | None:
        """Return the oldest raw points where Redis has too many of this job; None where not.

        Points that no reader can see are dropped at once.

        Raises:
            FencedError: Another attempt has taken over.
        """
        count = self.segment_points
        reply = self._db.run("surplus", *token_arguments(token), self._max_raw_points, count)
        if reply is None:
            return None
        attempt, first, last, number, schemas, packed = reply
        columns = dict(zip(schemas[::2], schemas[1::2], strict=True))
        document = encode_document(columns, packed)
        return Surplus(attempt, int(first), int(last), number, document)

    def archive(self, token: FencingToken, attempt: int, segment: Segment) -> bool:
        """Drop raw points that a durable file holds; readers find them there.

        False where the attempt's stream does not begin with them (any more): nothing changes.

        Raises:
            FencedError: Another attempt has taken over.
        """
        reply = self._db.run(
            "archive_points", *token_arguments(token), int(attempt), segment.encode()
        )
        return bool(reply and reply[0])

    def append_logs(
        self, token: FencingToken, lines: Sequence[LogLine], *, of_attempt: int | None = None
    ) -> Signals:
        """Append log lines, in order of `seq`. Those already there are counted as delivered.

        `of_attempt`: publish what an earlier attempt's stream lacks. Lines of an attempt before the
        last `LOGGED_ATTEMPTS` are dropped and counted as delivered.

        Raises:
            FencedError: Another attempt has taken over.
        """
        target = (*token_arguments(token), _target(token, of_attempt))
        kept = (self._max_log_lines, LOGGED_ATTEMPTS)
        replies = []
        for batch in _batches(lines):
            arguments = [argument for line in batch for argument in _line_arguments(line)]
            replies.append(self._db.run("append_logs", *target, *kept, *arguments))
        return _sum(replies)


def token_arguments(token: FencingToken) -> tuple[str, int, str]:
    """Return the fencing token as arguments of a script."""
    return check_id("job", token.job_id), token.attempt, token.claim_id


def _target(token: FencingToken, of_attempt: int | None) -> int:
    target = token.attempt if of_attempt is None else of_attempt
    if not 1 <= target <= token.attempt:
        raise ValueError(
            f"of_attempt is {target}; it must be an attempt from 1 to {token.attempt}, the own one"
        )
    return target


def _batches(entries: Sequence[T]) -> list[Sequence[T]]:
    """Return the entries in parts for one script call each; one empty part where there are none."""
    return [entries[i : i + _BATCH] for i in range(0, max(1, len(entries)), _BATCH)]


def _line_arguments(line: LogLine) -> list[Any]:
    return [int(line.seq), encode_log_line(line, MAX_LOG_LINE_BYTES)]


def _point_arguments(point: MetricPoint) -> list[Any]:
    if point.step < 0:
        raise ValueError(f"a point has step {point.step}; it must be ≥ 0; count steps from 1")
    if not 0 < len(point.values) <= _MAX_COLUMNS:
        raise ValueError(
            f"the point of step {point.step} has {len(point.values)} metrics; "
            f"it must have 1 to {_MAX_COLUMNS}; log fewer of them"
        )
    for name in point.values:
        if not name or "," in name:  # which separates them in the record of a point's columns
            raise ValueError(f"a metric is called {name!r}; a name has no comma; rename it")
    samples = encode_samples(point.time_ms, point.samples)
    return [int(point.step), *pack_point(point.time_ms, point.values), samples]


def _tokens_seen(points: Sequence[MetricPoint]) -> str:
    for point in reversed(points):
        tokens = point.values.get("tokens_seen")
        if tokens is not None and math.isfinite(tokens):
            return str(int(tokens))
    return ""


def signals_of(reply: list[Any] | None) -> Signals:
    """Return the signals that a script of a worker answers with."""
    if reply is None:
        raise JobStoreError("a script that answers with signals answered with none")
    stop, delivered, duplicates = reply
    return Signals(bool(stop), delivered, duplicates)


def _sum(replies: Sequence[list[Any] | None]) -> Signals:
    signals = [signals_of(reply) for reply in replies]
    return Signals(
        signals[-1].stop_requested,
        sum(each.delivered for each in signals),
        sum(each.duplicates for each in signals),
    )
