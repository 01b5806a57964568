"""How a stream is followed across broken connections, without any I/O of its own.

The blocking and the asyncio reader give each message to a follower, and ask it where to continue
after a break. So both yield each step once, over gRPC and over REST.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from training_engine._call import Call
from training_engine._retry import RetryDeadline
from training_engine.errors import TrainingEngineError, UnavailableError
from training_engine.records import (
    EVENT_RECORDS,
    Checkpoint,
    EventData,
    EventKind,
    JobEvent,
    JobStatus,
    LogLine,
    MetricPoint,
    Rewind,
    read,
)

T = TypeVar("T")
#: After a connection of this length the time for retries begins again, even without a message.
GOOD_CONNECTION_SECONDS = 10.0


class Follower(ABC, Generic[T]):
    """Keeps the place in a job's stream.

    Attributes:
        cursor: Opaque place after the last message received; empty at the start.
        after_step: For streams of metrics: only points after this step are still wanted.
        attempt: The job's attempt before the first connection; the end of an
            earlier one does not end the stream, since the job was resumed.
        at_end: True where the last state received was one that ends the stream.
    """

    def __init__(self, retry_seconds: float, cursor: str = "") -> None:
        self.cursor = cursor
        self.after_step: int | None = None
        self.attempt = 0
        self.at_end = False
        self._begins_at_cursor = bool(cursor)
        self._newest_attempt = 0
        self._retries = RetryDeadline(retry_seconds, retry_timeouts=True)
        self._connected_at = 0.0

    def connecting(self) -> None:
        """Note that a new connection is about to be made."""
        self._connected_at = time.monotonic()

    def receive(self, plain: dict[str, Any]) -> Iterator[T]:
        """Take a message of the stream; yield the points or events that are new to the caller."""
        self._retries.progressed()
        self.cursor = plain.get("cursor") or self.cursor
        if (state := plain.get(EventKind.STATE)) is not None:
            terminal = JobStatus(state["status"]).is_terminal
            attempt = state.get("attempt", 0)
            self.at_end = terminal and attempt >= self.attempt
            self._newest_attempt = max(self._newest_attempt, attempt)
        yield from self._read(plain)

    def delay_after(self, error: TrainingEngineError | None) -> float:
        """Return the seconds until the next connection; raise the error to give up.

        `error` is None for a stream that ended in order although its job has not. A service may
        refuse a cursor that it gave out, since it was upgraded or its Redis emptied: then the
        stream is read from the start again. Where the caller passed the first cursor, the error is
        raised instead, since only the caller knows what came before.
        """
        if error is not None and error.code == "invalid_cursor" and self._can_start_over():
            self._start_over()
            return 0.0
        if time.monotonic() - self._connected_at > GOOD_CONNECTION_SECONDS:
            self._retries.progressed()
        ended = UnavailableError("the stream ended before its job", code="shutting_down")
        return self._retries.delay_after(error or ended)

    def _can_start_over(self) -> bool:
        return bool(self.cursor) and not self._begins_at_cursor

    def _start_over(self) -> None:
        self.cursor = ""
        self.attempt = max(self.attempt, self._newest_attempt)

    @abstractmethod
    def _read(self, plain: dict[str, Any]) -> Iterator[T]:
        """Yield the points or events of one message of the stream."""


class EventFollower(Follower[JobEvent]):
    """Follows all events of a job; yields each event once."""

    def __init__(self, retry_seconds: float, cursor: str = "") -> None:
        super().__init__(retry_seconds, cursor)
        self._delivered = _Delivered()
        self._replays = False  # whether the stream repeats what was delivered

    def _read(self, plain: dict[str, Any]) -> Iterator[JobEvent]:
        # A kind of event that is newer than this SDK is passed over.
        for kind in EventKind:
            if (values := plain.get(kind)) is not None:
                data = read(EVENT_RECORDS[kind], values)
                if self._delivered.add(data) or not self._replays:
                    yield JobEvent(kind, data, plain.get("cursor", ""))

    def _start_over(self) -> None:
        super()._start_over()
        self._replays = True


class _Delivered:
    """Which events were delivered: points by step, lines by attempt and sequence, others whole."""

    def __init__(self) -> None:
        self._step = -1
        self._line = (0, -1)
        self._others: set[str] = set()

    def add(self, data: EventData) -> bool:
        """Remember `data`; return whether it is new."""
        if isinstance(data, MetricPoint):
            before, self._step = self._step, max(self._step, data.step)
            return data.step > before
        if isinstance(data, LogLine):
            line, last = (data.attempt, data.sequence), self._line
            self._line = max(last, line)
            return line > last
        key = data.checkpoint_id if isinstance(data, Checkpoint) else repr(data)
        new = key not in self._others
        self._others.add(key)
        if new and isinstance(data, Rewind):  # what came after it comes again
            self._step = min(self._step, data.to_step)
        return new


class MetricsFollower(Follower[MetricPoint]):
    """Follows a job's metrics; yields strictly increasing steps.

    After a rewind a job measures some steps again. They are skipped, since an exact run measures
    the same values. With `on_rewind` they are yielded again, after a call of `on_rewind` with the
    last step that remains valid.
    """

    def __init__(
        self,
        retry_seconds: float,
        after_step: int | None = None,
        on_rewind: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(retry_seconds)
        self.after_step = after_step
        self._on_rewind = on_rewind

    def _read(self, plain: dict[str, Any]) -> Iterator[MetricPoint]:
        if (rewound := _rewound_to(plain)) is not None:
            self._rewind(rewound)
            return
        # StreamMetrics calls it a point; the stream of all events (REST's) names the event.
        measured = plain.get("point") or plain.get(EventKind.METRICS)
        if measured is None:
            return
        point = read(MetricPoint, measured)
        if self.after_step is None or point.step > self.after_step:
            self.after_step = point.step
            yield point

    def _rewind(self, to_step: int) -> None:
        if self._on_rewind and self.after_step is not None and to_step < self.after_step:
            self.after_step = to_step
            self._on_rewind(to_step)


def _rewound_to(plain: dict[str, Any]) -> int | None:
    if (rewind := plain.get(EventKind.REWOUND)) is not None:
        return cast("int", rewind["to_step"])
    return plain.get("rewound_to_step")


def check_finished(call: Call, last: dict[str, Any] | None) -> None:
    """Raise `UnavailableError` where a generation's last sample has no finish reason."""
    samples = call.fields["num_samples"] or 1
    if last is None or not last.get("finish_reason") or (last.get("sample") or 0) < samples - 1:
        raise broken_off("generation")


def broken_off(what: str) -> UnavailableError:
    """Return the error for answers that ended too early; the call may be sent again."""
    message = f"the {what} broke off before its end; ask again"
    return UnavailableError(message, code="shutting_down")
