"""Events of a job's life, and the position of a reader among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from job_store.alerts import Alert, decode_alert
from job_store.codec import decode_checkpoint, decode_error, decode_log_line
from job_store.history_records import HistoryPoint, StoredLogLine
from job_store.paging import TokenCodec
from job_store.records import CheckpointRecord, JobError, JobStatus


@dataclass(frozen=True, slots=True)
class StateEvent:
    """The job changed its state, or a new attempt of it."""

    status: JobStatus
    attempt: int
    time_ms: int
    step: int
    message: str
    error: JobError | None
    running_ms: int = 0
    """How long workers had held the job then."""


@dataclass(frozen=True, slots=True)
class MetricsEvent:
    """A point was logged."""

    attempt: int
    step: int
    time_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class CheckpointEvent:
    """A checkpoint was registered."""

    checkpoint: CheckpointRecord


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line of the trainer's output."""

    line: StoredLogLine


@dataclass(frozen=True, slots=True)
class RewoundEvent:
    """The history was cut: points after `to_step` were withdrawn, and these steps come again."""

    to_step: int
    attempt: int
    time_ms: int
    after: str = ""
    """How the attempt before ended: an OutcomeKind, `lost`, or empty where that is not known."""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A rule of the job's alerts fired."""

    alert: Alert


Event = StateEvent | MetricsEvent | CheckpointEvent | LogEvent | RewoundEvent | AlertEvent

CURSOR = "watch"
"""The kind of token that a cursor is."""


@dataclass(slots=True)
class Position:
    """How far a reader is: in the events, the points and the log lines of a job."""

    event: tuple[int, int] = (0, 0)
    known: int = 0
    """The newest attempt whose start the reader has received."""
    point: tuple[int, int] = (0, -1)
    """Attempt and step of the last point."""
    log: tuple[int, int] = (0, -1)
    """Attempt and seq of the last log line."""
    floor: int = -1
    """Points up to this step are passed over: the reader has them, or asked to skip them."""

    def cursor(self, job_id: str, codec: TokenCodec) -> str:
        """Return the opaque text that continues here."""
        numbers = (*self.event, self.known, *self.point, *self.log, self.floor)
        return codec.encode(CURSOR, job_id, *numbers)

    @staticmethod
    def of_cursor(parts: Sequence[str]) -> Position:
        """Return the position that a cursor carries.

        Raises:
            ValueError: It carries something else.
        """
        if len(parts) != 8:
            raise ValueError("it is of another version")
        time, sequence, known, attempt, step, log_attempt, seq, floor = map(int, parts)
        return Position((time, sequence), known, (attempt, step), (log_attempt, seq), floor)

    def advance_to(self, item: Item) -> bool:
        """Move the position to an item; False if the reader has it already or skips its step."""
        if isinstance(item.event, MetricsEvent):
            if item.key <= self.point:
                return False
            self.point = item.key
            return item.event.step > self.floor
        if isinstance(item.event, LogEvent):
            if item.key <= self.log:
                return False
            self.log = item.key
            return True
        if item.key <= self.event:
            return False
        self.event = item.key
        self.known = max(self.known, item.known)
        if isinstance(item.event, RewoundEvent):
            self.floor = min(self.floor, item.event.to_step)
        return True


@dataclass(frozen=True, slots=True)
class Item:
    """An event with its place in its own stream."""

    event: Event
    key: Any
    """Event id, (attempt, step) or (attempt, seq): grows within its stream."""
    known: int = 0
    """The newest attempt that has started by this state event."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that follows a position, in order, up to a limit."""

    items: Sequence[Item]
    more: bool
    """There may be more right now."""
    ended: bool
    """The job is at rest and the items reach to its end."""
    wake: Sequence[bytes]
    """Stream, id, stream, id, ...: where the next entry will appear."""


class FeedReply(NamedTuple):
    """What `read_feed.lua` returns."""

    status: bytes
    state_event: bytes
    """Id of the newest state event."""
    more: int
    """1 where a limit was reached, so that there may be more."""
    events: Sequence[Any]
    schemas: Sequence[bytes]
    """Columns, number, columns, number, ...: what the raw points are read with."""
    packed: bytes
    """The raw points."""
    files: Sequence[Any]
    """The archived files of older points."""
    lines: Sequence[Any]
    """Log lines: attempt, entry id, line."""
    wake: Sequence[bytes]
    """See `Snapshot.wake`."""


def read_snapshot(
    position: Position, reply: FeedReply, points: Sequence[HistoryPoint], more: bool
) -> Snapshot:
    """Return the items of a reply, `points` included, in the order of writing.

    Each event carries the last point and log line published before it; those go first.
    """
    due = [_point(point) for point in points]
    logs = [_log(line) for line in reply.lines]
    items: list[Item] = []
    for entry in reply.events:
        fields = dict(zip(entry[1][::2], entry[1][1::2], strict=True))
        items += _take(due, _numbers(fields[b"p"]))
        items += _take(logs, _numbers(fields[b"l"]))
        if more and not due and points:
            break  # the limit may have hidden points that belong before this event
        if more and not logs and reply.lines:
            break
        items.append(_event(entry[0], fields))
    else:
        if not (more and reply.events):
            items += due + logs
    last_event = items_event(items) or position.event
    is_terminal = JobStatus(reply.status.decode()).is_terminal
    at_end = is_terminal and last_event >= _event_id(reply.state_event)
    return Snapshot(items, more, at_end and not more, reply.wake)


def items_event(items: Sequence[Item]) -> tuple[int, int] | None:
    """Return the id of the last state, checkpoint or rewound event among the items."""
    for item in reversed(items):
        if not isinstance(item.event, MetricsEvent | LogEvent):
            key: tuple[int, int] = item.key
            return key
    return None


def _take(waiting: list[Item], reached: tuple[int, ...]) -> list[Item]:
    count = 0
    while count < len(waiting) and waiting[count].key <= reached:
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _numbers(text: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(b":"))


def _event_id(id: bytes) -> tuple[int, int]:
    milliseconds, sequence = id.split(b"-")
    return int(milliseconds), int(sequence)


def _point(point: HistoryPoint) -> Item:
    event = MetricsEvent(point.attempt, point.step, point.time_ms, point.values)
    return Item(event, (point.attempt, point.step))


def _log(line: Sequence[Any]) -> Item:
    attempt, id, stored = line
    seq = int(id.split(b"-")[0])
    return Item(LogEvent(decode_log_line(attempt, seq, stored)), (attempt, seq))


def _event(id: bytes, fields: Mapping[bytes, bytes]) -> Item:
    key, kind, data = _event_id(id), fields[b"e"], fields[b"d"]
    if kind == b"checkpoint":
        best = fields.get(b"b", b"").decode()  # events of earlier versions do not tell
        return Item(CheckpointEvent(decode_checkpoint("", data, best)), key)
    stored = json.loads(data)
    if kind == b"alert":
        return Item(AlertEvent(decode_alert(stored)), key)
    if kind == b"rewound":
        after = stored.get("after", "")  # events of earlier versions have none
        event = RewoundEvent(
            int(stored["to_step"]), int(stored["attempt"]), int(stored["at"]), after
        )
        return Item(event, key)
    status, attempt = JobStatus(stored["status"]), int(stored["attempt"])
    state = StateEvent(
        status,
        attempt,
        int(stored["at"]),
        int(stored["step"]),
        stored["message"],
        decode_error(stored["error"]),
        int(stored.get("running_ms", 0)),  # events of earlier versions have none
    )
    return Item(state, key, known=attempt if status is not JobStatus.QUEUED else attempt - 1)
