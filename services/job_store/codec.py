"""Encodes records for Redis and decodes them; a record that is not understood is an error.

A record of another version, or with a missing or damaged field, raises RecordVersionError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from job_store.errors import RecordVersionError
from job_store.records import (
    RECORD_VERSION,
    CheckpointRecord,
    ConfigRecord,
    DatasetRecord,
    Execution,
    JobError,
    JobRecord,
    JobStatus,
    LogLine,
    NewJob,
    Phase,
    PhaseProgress,
    Priority,
    StoredLogLine,
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


def _optional_whole(text: str) -> int | None:
    return _whole(text) if text else None


def _optional_time(text: str) -> int | None:
    return _time(text) if text else None


def _strings(text: str) -> tuple[str, ...]:
    return tuple(str(item) for item in json.loads(text)) if text else ()


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


def new_job_fields(new: NewJob) -> list[str]:
    """Return field, value, field, ... of a fresh job; the script adds id, state and times."""
    run = new.execution
    fields = {
        "name": new.name,
        "max_steps": str(new.max_steps),
        "dataset_path": new.dataset_path,
        "val_dataset_path": new.val_dataset_path,
        "tokenizer": new.tokenizer,
        "config_id": new.config_id,
        "warnings": json.dumps(list(new.warnings)),
        "data_warnings": json.dumps(list(new.data_warnings)),
        "data_roots": "" if new.data_roots is None else json.dumps(list(new.data_roots)),
        "priority": run.priority.value,
        "processes": str(run.processes),
        "nodes": str(run.nodes),
        "device": run.device,
        "max_retries": str(run.max_retries),
        "stop_timeout_seconds": repr(float(run.stop_timeout_seconds)),
        "stall_timeout_seconds": repr(float(run.stall_timeout_seconds)),
        **_FRESH,
    }
    return [text for pair in fields.items() for text in pair]


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
        return JobRecord(
            job_id=f["job_id"],
            name=f["name"],
            status=JobStatus(f["status"]),
            current_step=_whole(f["current_step"]),
            max_steps=_whole(f["max_steps"]),
            attempt=_short(f["attempt"]),
            claim_id=f["claim_id"],
            worker_id=f["worker_id"],
            resumed_from_step=_optional_whole(f["resumed_from_step"]),
            resume_checkpoint_id=f["resume_checkpoint_id"],
            created_at=_time(f["created_at"]),
            updated_at=_time(f["updated_at"]),
            started_at=_optional_time(f["started_at"]),
            completed_at=_optional_time(f["completed_at"]),
            error=decode_error(f["error"]),
            message=f["message"],
            config_document=config_document,
            config_id=f["config_id"],
            dataset_path=f["dataset_path"],
            val_dataset_path=f["val_dataset_path"],
            tokenizer=f["tokenizer"],
            execution=_decode_execution(f),
            warnings=_strings(f["warnings"]),
            data_roots=_strings(roots) if (roots := f.get("data_roots")) else None,
            notes=_strings(f["notes"]),
            data_summary=f.get("data_summary", ""),
            data_warnings=_strings(f.get("data_warnings", "[]")),
            consecutive_failures=_short(f["consecutive_failures"]),
            tokens_seen=_whole(f["tokens_seen"]),
            phase=Phase(f["phase"]),
            phase_progress=_phase_progress(f),
            eta_seconds=_milliseconds(f.get("eta_ms", "")),
            best_checkpoint_id=f["best_checkpoint_id"],
            enqueued_at=_optional_time(f["enqueued_at"]),
            stop_requested_at=_optional_time(f["stop_requested_at"]),
            stop_deadline=_optional_time(f["stop_deadline"]),
            running_ms=_running_ms(f),
        )

    return _strict("job", job_id, fields, read)


def _phase_progress(f: Fields) -> PhaseProgress:
    done, total = f.get("phase_progress", "0/0").split("/")  # earlier versions wrote none
    return PhaseProgress(_whole(done), _whole(total))


def _milliseconds(text: str) -> float | None:
    return _whole(text) / 1000 if text else None


def _running_ms(f: Fields) -> int:
    """Return how long workers have held the job until the record was read.

    A script's answer has no time of reading; its last change counts then. Jobs of versions that did
    not count this lack the fields.
    """
    ran, since = _time(f.get("ran_ms") or "0"), f.get("running_since")
    read_at = _time(f.get("read_at", f["updated_at"]))
    return ran + max(0, read_at - _time(since)) if since else ran


def _decode_execution(f: Fields) -> Execution:
    return Execution(
        priority=Priority(f["priority"]),
        processes=_short(f["processes"]),
        nodes=_short(f["nodes"]),
        device=f["device"],
        max_retries=_short(f["max_retries"]),
        stop_timeout_seconds=float(f["stop_timeout_seconds"]),
        stall_timeout_seconds=float(f["stall_timeout_seconds"]),
    )


def decode_config(config_id: str, fields: Fields) -> ConfigRecord:
    """Return a config's hash as a record."""
    return _strict(
        "config",
        config_id,
        fields,
        lambda f: ConfigRecord(f["id"], f["name"], f["document"], _time(f["created_at"])),
    )


def decode_dataset(dataset_id: str, fields: Fields) -> DatasetRecord:
    """Return a dataset's hash as a record."""
    return _strict(
        "dataset",
        dataset_id,
        fields,
        lambda f: DatasetRecord(
            f["id"],
            f["name"],
            _whole(f["size_bytes"]),
            f["sha256"],
            f["artifact"],
            _time(f["created_at"]),
        ),
    )


def encode_checkpoint(record: CheckpointRecord) -> str:
    """Return a checkpoint as JSON; the script adds the time."""
    return json.dumps(
        {
            "v": RECORD_VERSION,
            "checkpoint_id": record.checkpoint_id,
            "job_id": record.job_id,
            "attempt": record.attempt,
            "step": record.step,
            "loss": record.loss,
            "size_bytes": record.size_bytes,
            "sha256": record.sha256,
            "artifact": record.artifact,
            "best_score": record.best_score,
            "metrics": dict(record.metrics),
        }
    )


def decode_checkpoint(checkpoint_id: str, stored: bytes, best_id: str = "") -> CheckpointRecord:
    """Return the record from a line with the time and a line of JSON."""
    created_at, _, document = stored.partition(b"\n")

    def read(f: Mapping[str, Any]) -> CheckpointRecord:
        return CheckpointRecord(
            checkpoint_id=f["checkpoint_id"],
            job_id=f["job_id"],
            attempt=_short(f["attempt"]),
            step=_whole(f["step"]),
            loss=f["loss"],
            size_bytes=_whole(f["size_bytes"]),
            sha256=f["sha256"],
            artifact=f["artifact"],
            created_at=_time(created_at.decode()),
            best_score=f["best_score"],
            is_best=f["checkpoint_id"] == best_id,
            metrics=f["metrics"],
        )

    fields = _json_object("checkpoint", checkpoint_id, document)
    return _strict("checkpoint", checkpoint_id, fields, read)


def encode_worker(worker: WorkerRecord) -> str:
    """Return a worker as JSON; the script adds the time of the heartbeat."""
    return json.dumps(
        {
            "v": RECORD_VERSION,
            "worker_id": worker.worker_id,
            "state": worker.state,
            "device": worker.device,
            "hostname": worker.hostname,
            "pid": worker.pid,
            "started_at": worker.started_at,
            "job_id": worker.job_id,
            "attempt": worker.attempt,
        }
    )


def decode_worker(worker_id: str, stored: bytes) -> WorkerRecord:
    """Return the record from a line with the time and a line of JSON."""
    heartbeat, _, document = stored.partition(b"\n")

    def read(f: Mapping[str, Any]) -> WorkerRecord:
        return WorkerRecord(
            worker_id=f["worker_id"],
            state=WorkerState(f["state"]),
            device=f["device"],
            hostname=f["hostname"],
            pid=_short(f["pid"]),
            started_at=_whole(f["started_at"]),
            last_heartbeat=_time(heartbeat.decode()),
            job_id=f["job_id"],
            attempt=_short(f["attempt"]),
        )

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
