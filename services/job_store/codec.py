"""Encodes records for Redis and decodes them; a record that is not understood is an error.

A record of another version, or with a missing or damaged field, raises RecordVersionError.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from job_store.errors import RecordVersionError
from job_store.history_records import LogLine, SampledStep, StoredLogLine
from job_store.records import (
    RECORD_VERSION,
    CheckpointRecord,
    ConfigRecord,
    DatasetRecord,
    Execution,
    ForkOptimizer,
    JobError,
    JobRecord,
    JobStatus,
    NewJob,
    Phase,
    PhaseProgress,
    Priority,
    SweepRecord,
    SweepStatus,
    WorkerRecord,
    WorkerState,
)

Fields = Mapping[str, str]
T = TypeVar("T")


def text_fields(stored: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a Redis hash as text."""
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in stored.items()
    }


def json_fields(stored: bytes) -> dict[str, str]:
    """Return a Redis hash that a script has sent as JSON, as text; empty where there is none."""
    fields: dict[str, str] = json.loads(stored.decode("utf-8", "replace") or "{}")
    return fields


def _damaged(kind: str, id: str, why: str) -> RecordVersionError:
    return RecordVersionError(kind, id, f"a damaged record ({why})", f"version {RECORD_VERSION}")


def _strict(kind: str, id: str, fields: Fields, read: Callable[[Fields], T]) -> T:
    version = fields.get("v", "none")
    if version != str(RECORD_VERSION):
        raise RecordVersionError(kind, id, f"version {version}", f"version {RECORD_VERSION}")
    try:
        return read(fields)
    except KeyError as error:
        raise _damaged(kind, id, f"no field {error.args[0]!r}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(kind, id, str(error)) from error


def _whole(stored: str | int, most: int = (1 << 63) - 1) -> int:
    """Return a number of a record, of at most 64 bits unless `most` is given.

    Raises:
        ValueError: The number is larger than `most`.
    """
    number = int(stored)
    if not -most <= number <= most:
        raise ValueError(f"a number of {number.bit_length()} bits, beyond {most}")
    return number


def _short(stored: str | int) -> int:
    return _whole(stored, (1 << 31) - 1)


def _time(text: str) -> int:
    """Return milliseconds since the epoch, until the end of the year 9999, where dates end."""
    return _whole(text, 253_402_300_799_999)


def _strings(text: str) -> tuple[str, ...]:
    return tuple(str(item) for item in json.loads(text)) if text else ()


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if text else None


def encode_error(error: JobError | None) -> str:
    """Return an error as stored in a job; the empty text for none."""
    if error is None:
        return ""
    return json.dumps(
        {"reason": error.reason, "message": error.message, "log_tail": error.log_tail}
    )


def decode_error(text: str) -> JobError | None:
    """Return the error stored in a job or event, if there is one."""
    if not text:
        return None
    stored = json.loads(text)
    return JobError(*(str(stored[name]) for name in ("reason", "message", "log_tail")))


_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _whole,
    "int | None": _or_none(_whole),
    "Milliseconds": _time,
    "Milliseconds | None": _or_none(_time),
    "float": float,
    "tuple[str, ...]": _strings,
    "tuple[str, ...] | None": _or_none(_strings),
    "ForkOptimizer | None": _or_none(ForkOptimizer),
    "JobError | None": decode_error,
    "JobStatus": JobStatus,
    "Phase": Phase,
    "Priority": Priority,
    "SweepStatus": SweepStatus,
    "WorkerState": WorkerState,
}
"""How a field is read, by the type that the class of its record gives; others are as stored."""

_SHORT = frozenset(
    {"attempt", "consecutive_failures", "max_retries", "nodes", "pid", "processes", "sweep_child"}
)
"""Numbers that messages have in 32 bits."""

_ADDED_LATER = frozenset(
    field.name
    for field in dataclasses.fields(JobRecord)
    if field.default is not dataclasses.MISSING
) | {"only_job"}
"""Fields of a job with a default, and one of a worker: records of earlier releases lack them."""


def _read(kind: type[T], stored: Mapping[str, Any], **computed: Any) -> T:
    """Return a record of what is stored under the names of its fields.

    Raises:
        KeyError: A field is not stored.
        ValueError: A value is not of its field's type.
    """
    for name, read in _readers(kind):  # type: ignore[arg-type]
        if name not in computed and (name in stored or name not in _ADDED_LATER):
            computed[name] = read(stored[name]) if read else stored[name]
    return kind(**computed)


@cache
def _readers(kind: Any) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Return the name of each field and how it is read; None for a value that is as stored."""
    fields = dataclasses.fields(kind)
    return [(f.name, _short if f.name in _SHORT else _READERS.get(str(f.type))) for f in fields]


def new_job_fields(new: NewJob) -> list[str]:
    """Return field, value, field, ... of a fresh job; the script adds id, state and times."""
    given = {**_values(new), **_values(new.execution)}
    del given["config_document"], given["execution"]  # the one has a key of its own
    searched = {"folded_name": folded(new.name), "folded_notes": folded(new.user_notes)}
    fields = {name: _as_text(value) for name, value in given.items()} | searched | _FRESH
    return [text for pair in fields.items() for text in pair]


def folded(text: str) -> str:
    """Return what a search without regard to case compares; empty for ASCII, which scripts fold."""
    return "" if text.isascii() else text.casefold()


def _values(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, tuple) else str(value)


_EMPTY = (
    "claim_id worker_id resumed_from_step resume_checkpoint_id started_at completed_at error "
    "message notes best_checkpoint_id enqueued_at stop_requested_at stop_deadline state_event "
    "progress_at running_since"
)
# Fields that only scripts use: `fresh_checkpoint` is 1 once the current attempt has registered a
# checkpoint; `visible_step` is the largest step of a point that readers see; `last_point`
# (attempt:step) and `last_log` (attempt:seq) are what was published last; `lease_count` grows with
# every renewal of the lease.
_FRESH = {
    **dict.fromkeys(_EMPTY.split(), ""),
    "attempt": "1",
    "current_step": "0",
    "consecutive_failures": "0",
    "tokens_seen": "0",
    "ran_ms": "0",
    "lease_count": "0",
    "fresh_checkpoint": "0",
    "visible_step": "0",
    "phase": "starting",
    "phase_progress": "0/0",
    "eta_ms": "",
    "last_point": "0:0",
    "last_log": "0:0",
}


def decode_job(job_id: str, fields: Fields, config_document: str = "") -> JobRecord:
    """Return a job's hash as a record."""

    def read(f: Fields) -> JobRecord:
        return _read(
            JobRecord,
            f,
            config_document=config_document,
            execution=_read(Execution, f),
            phase_progress=_phase_progress(f),
            eta_seconds=_seconds(f.get("eta_ms", "")),
            running_ms=_running_ms(f),
        )

    return _strict("job", job_id, fields, read)


def _phase_progress(f: Fields) -> PhaseProgress:
    # Earlier versions wrote none, or none with a speed.
    done, total, *per_second = f.get("phase_progress", "0/0").split("/")
    return PhaseProgress(_whole(done), _whole(total), *map(float, per_second[:1]))


def _seconds(text: str) -> float | None:
    return _whole(text) / 1000 if text else None


def _running_ms(f: Fields) -> int:
    """Return how long workers have held the job until the record was read.

    A script's answer has no time of reading; its last change counts then. Jobs of versions that did
    not count this lack the fields.
    """
    ran, since = _time(f.get("ran_ms") or "0"), f.get("running_since")
    read_at = _time(f.get("read_at", f["updated_at"]))
    return ran + max(0, read_at - _time(since)) if since else ran


def _decoder(kind: str, record: type[T]) -> Callable[[str, Fields], T]:
    """Return a function of an id and a hash that returns the hash as a record."""

    def decode(id: str, fields: Fields) -> T:
        return _strict(kind, id, fields, lambda f: _read(record, f, **{f"{kind}_id": f["id"]}))

    return decode


decode_config = _decoder("config", ConfigRecord)
decode_dataset = _decoder("dataset", DatasetRecord)
decode_sweep = _decoder("sweep", SweepRecord)


def encode_checkpoint(record: CheckpointRecord) -> str:
    """Return a checkpoint as JSON; the script adds the time."""
    values = _values(record)
    del values["created_at"], values["is_best"]
    return json.dumps({"v": RECORD_VERSION, **values, "metrics": dict(record.metrics)})


def decode_checkpoint(checkpoint_id: str, stored: bytes, best_id: str = "") -> CheckpointRecord:
    """Return the record from a line with the time and a line of JSON."""
    created_at, _, document = stored.partition(b"\n")

    def read(f: Mapping[str, Any]) -> CheckpointRecord:
        is_best = f["checkpoint_id"] == best_id
        return _read(CheckpointRecord, f, created_at=_time(created_at.decode()), is_best=is_best)

    fields = _json_object("checkpoint", checkpoint_id, document)
    return _strict("checkpoint", checkpoint_id, fields, read)


def encode_worker(worker: WorkerRecord) -> str:
    """Return a worker as JSON; the script adds the time of the heartbeat."""
    values = _values(worker)
    del values["last_heartbeat"]
    return json.dumps({"v": RECORD_VERSION, **values})


def decode_worker(worker_id: str, stored: bytes) -> WorkerRecord:
    """Return the record from a line with the time and a line of JSON."""
    heartbeat, _, document = stored.partition(b"\n")

    def read(f: Mapping[str, Any]) -> WorkerRecord:
        return _read(WorkerRecord, f, last_heartbeat=_time(heartbeat.decode()))

    return _strict("worker", worker_id, _json_object("worker", worker_id, document), read)


def _json_object(kind: str, id: str, document: bytes) -> dict[str, Any]:
    """Return the JSON object, its version as text, as `_strict` compares it."""
    try:
        fields = json.loads(document)
    except ValueError as error:
        raise _damaged(kind, id, "not JSON") from error
    if not isinstance(fields, dict):
        raise _damaged(kind, id, "not a JSON object")
    fields["v"] = str(fields.get("v", "none"))
    return fields


def pack_point(time_ms: int, values: Mapping[str, float]) -> tuple[str, bytes]:
    """Return column names, and time and values as little-endian doubles, which keep every bit."""
    packed = struct.pack(f"<{len(values) + 1}d", time_ms, *values.values())
    return ",".join(values), packed


def encode_samples(time_ms: int, texts: Sequence[str]) -> str:
    """Return sampled texts with their time; empty where there are none."""
    return f"{time_ms}\n{json.dumps(texts, ensure_ascii=False)}" if texts else ""


def decode_samples(attempt: int, step: int, stored: bytes) -> SampledStep:
    """Return sampled texts as read back."""
    time_ms, _, texts = stored.decode().partition("\n")
    return SampledStep(step, attempt, int(time_ms), tuple(json.loads(texts)))


def encode_log_line(line: LogLine, max_bytes: int) -> bytes:
    """Return `time source text`, tab-separated, with at most `max_bytes` of text."""
    body = line.text.encode("utf-8", "replace")
    if len(body) > max_bytes:
        body = body[:max_bytes].decode("utf-8", "ignore").encode() + " […]".encode()
    return f"{line.time_ms}\t{line.source}\t".encode() + body


def decode_log_line(attempt: int, seq: int, stored: bytes) -> StoredLogLine:
    """Return the line as read back."""
    time_ms, source, text = stored.decode("utf-8", "replace").split("\t", 2)
    return StoredLogLine(attempt, seq, text, int(time_ms), source)
