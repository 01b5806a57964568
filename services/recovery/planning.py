"""The state in which a job comes back, and what its attempts' folders add to its record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifact_store import ArtifactNotFoundError, ArtifactStore, job_prefix
from job_store.codec import decode_checkpoint
from job_store.ids import new_claim_id
from job_store.records import LAST_STEP, CheckpointRecord, FencingToken, JobStatus

_FOLDER = re.compile(r"(\d+)-(\w+)", re.ASCII)
_TERMINAL = {status.value for status in JobStatus if status.is_terminal}


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How one job is entered."""

    job: Mapping[str, Any]
    """What is entered first, held by the recovery; see `restore_job.lua`."""
    token: FencingToken
    """The recovery's own, with which it publishes."""
    released: Mapping[str, str]
    """The fields of the state in which it comes back."""
    resume_step: int
    """Points up to here are published; the attempt that comes next gives the others."""
    checkpoints: tuple[CheckpointRecord, ...]
    """The registered ones, ascending by step."""
    remarks: tuple[str, ...] = ()


def plan_job(store: ArtifactStore, entry: Mapping[str, Any]) -> JobPlan:
    """Return how the job of a journal's entry is entered.

    A job that ran or waited goes on as a new attempt, with a larger number than all that ever
    wrote: so a trainer that still lives, and whose claim Redis knew, may change nothing.
    """
    job_id, fields = str(entry["id"]), dict(entry["fields"])
    checkpoints = _registered(entry)
    newest = checkpoints[-1].step if checkpoints else 0
    attempts = {int(n): json.loads(text) for n, text in entry["attempts"].items()}
    _add_folders(attempts, store, job_id, checkpoints)
    claimed = [number for number, attempt in attempts.items() if attempt.get("claim_id")]
    if fields["status"] not in _TERMINAL:
        for number in claimed:
            attempts[number].setdefault("outcome", "lost")
    following = max([int(fields["attempt"]) - 1, *claimed]) + 1
    released = _released(fields, following, newest, had_begun=bool(claimed))
    if released["status"] != "queued":
        following = max(following, int(fields["attempt"]) + 1)
    token = FencingToken(job_id, following, new_claim_id())
    held = fields | {
        "status": "running",
        "attempt": str(token.attempt),
        "claim_id": token.claim_id,
        **dict.fromkeys(("state_event", "enqueued_at", "stop_requested_at", "stop_deadline"), ""),
        **dict.fromkeys(("last_point", "last_log"), "0:0"),
        "visible_step": "0",
    }
    job = dict(entry) | {
        "fields": held,
        "attempts": {str(n): json.dumps(attempt) for n, attempt in attempts.items()},
    }
    resume_step = newest if released["status"] == "queued" else LAST_STEP
    return JobPlan(job, token, released, resume_step, checkpoints, _missing(store, checkpoints))


def _registered(entry: Mapping[str, Any]) -> tuple[CheckpointRecord, ...]:
    records = [
        decode_checkpoint(id, entry["checkpoint_data"][id].encode()) for id in entry["checkpoints"]
    ]
    return tuple(sorted(records, key=lambda record: record.step))


def _add_folders(
    attempts: dict[int, dict[str, str]],
    store: ArtifactStore,
    job_id: str,
    checkpoints: tuple[CheckpointRecord, ...],
) -> None:
    """Add the claims that were never in the journal: each made its folder before it began."""
    for name in store.names(f"{job_prefix(job_id)}/attempts"):
        if not (folder := _FOLDER.fullmatch(name)):
            continue
        number = int(folder[1])
        start = max([one.step for one in checkpoints if one.attempt < number], default=0)
        attempt = attempts.setdefault(number, {"start_step": str(start)})
        attempt.setdefault("claim_id", folder[2])


def _released(
    fields: Mapping[str, str], following: int, newest: int, *, had_begun: bool
) -> dict[str, str]:
    """Return the fields in which the job comes back."""
    status = fields["status"]
    if status in _TERMINAL:
        names = ("status", "attempt", "claim_id", "completed_at", "message")
        return {name: fields[name] for name in names} | _AT_REST
    if status == "stopping":
        message = "Redis was lost while it stopped; it can be resumed from " + _place(newest)
        return _AT_REST | {
            "status": "stopped",
            "attempt": fields["attempt"],
            "completed_at": "",
            "message": message,
        }
    message = fields["message"]
    if status == "running" or (had_begun and following > int(fields["attempt"])):
        message = f"Redis was lost while it ran; it continues from {_place(newest)}"
    return _AT_REST | {
        "status": "queued",
        "attempt": str(following),
        "completed_at": "",
        "claim_id": "",
        "worker_id": "",
        "message": message,
    }


_AT_REST = dict.fromkeys(
    ("enqueued_at", "stop_requested_at", "stop_deadline", "running_since", "eta_ms"), ""
)


def _place(step: int) -> str:
    return f"its checkpoint of step {step}" if step else "step 0, for it has no checkpoint"


def _missing(store: ArtifactStore, checkpoints: tuple[CheckpointRecord, ...]) -> tuple[str, ...]:
    gone = [one.step for one in checkpoints if not is_there(store, one.artifact, one.size_bytes)]
    if not gone:
        return ()
    return (f"the files of its checkpoints of steps {', '.join(map(str, gone))} are missing",)


def is_there(store: ArtifactStore, key: str, size_bytes: int) -> bool:
    """Whether the store has the artifact with this size."""
    try:
        return store.stat(key).size_bytes == size_bytes
    except ArtifactNotFoundError:
        return False
