"""Plans how a job that Redis has lost is entered again: in which state, and with which attempts.

A job is entered in two steps. First it is `running`, claimed by the recovery, which publishes the
points and logs of its attempts like a worker. Then it is released: a job that ran or waited is
queued, one that was stopping is stopped, any other has the state that it had. Its record comes from
the journal, and attempts that the journal misses from the names of their folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifact_store import ArtifactStore, job_prefix
from job_store.codec import decode_checkpoint
from job_store.ids import new_claim_id
from job_store.records import LAST_STEP, CheckpointRecord, FencingToken, JobStatus

_FOLDER = re.compile(r"(\d+)-(\w+)", re.ASCII)
_TERMINAL = {status.value for status in JobStatus if status.is_terminal}
_AT_REST = dict.fromkeys(
    ("enqueued_at", "stop_requested_at", "stop_deadline", "running_since", "eta_ms"), ""
)
"""Fields that are empty in a job that no worker runs."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How one job is entered."""

    job: Mapping[str, Any]
    """What is entered first, as the argument of `restore_job.lua`."""
    token: FencingToken
    """The claim by which the recovery holds the job while it publishes."""
    released: Mapping[str, str]
    """The fields that are changed when the recovery releases the job, `status` among them."""
    resume_step: int
    """Points up to here are published; the next attempt trains and publishes the later steps."""
    checkpoints: tuple[CheckpointRecord, ...]
    """The registered ones, ascending by step."""
    remarks: tuple[str, ...] = ()
    """What else the report says of the job, such as missing files."""


def plan_job(store: ArtifactStore, entry: Mapping[str, Any]) -> JobPlan:
    """Return how the job of a journal's entry is entered.

    A job that ran or waited continues as a new attempt, whose number is larger than that of every
    claim there ever was. So a trainer that is still alive has an old claim and can change nothing.
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
    current = int(fields["attempt"])
    following = max([current, *(number + 1 for number in claimed)])
    released = _released(fields, following, newest, had_begun=bool(claimed))
    if released["status"] != "queued":
        following = max(following, current + 1)  # for the recovery's claim; the job keeps `current`
    token = FencingToken(job_id, following, new_claim_id())
    job = dict(entry) | {
        "fields": fields | _held(token),
        "attempts": {str(n): json.dumps(attempt) for n, attempt in attempts.items()},
    }
    resume_step = newest if released["status"] == "queued" else LAST_STEP
    return JobPlan(job, token, released, resume_step, checkpoints, _missing(store, checkpoints))


def _held(token: FencingToken) -> dict[str, str]:
    """Return the fields of a job that the recovery holds, with nothing published yet."""
    return {
        "status": "running",
        "attempt": str(token.attempt),
        "claim_id": token.claim_id,
        **dict.fromkeys(("state_event", "enqueued_at", "stop_requested_at", "stop_deadline"), ""),
        **dict.fromkeys(("last_point", "last_log"), "0:0"),
        "visible_step": "0",
    }


def _registered(entry: Mapping[str, Any]) -> tuple[CheckpointRecord, ...]:
    """Return an entry's registered checkpoints, ascending by step."""
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
    """Add the claims that the journal misses. Each has a folder, made before its training began."""
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
    """Return the fields that are changed when the recovery releases the job.

    Args:
        fields: The job's fields in the journal.
        following: Number of its next attempt, if there is one.
        newest: Step of its newest checkpoint; 0 without one.
        had_begun: Whether any attempt was claimed.
    """
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


def _place(step: int) -> str:
    return f"its checkpoint of step {step}" if step else "step 0, for it has no checkpoint"


def _missing(store: ArtifactStore, checkpoints: tuple[CheckpointRecord, ...]) -> tuple[str, ...]:
    """Return a remark if files of registered checkpoints are missing."""
    gone = [one.step for one in checkpoints if not store.holds(one.artifact, one.size_bytes)]
    if not gone:
        return ()
    return (f"the files of its checkpoints of steps {', '.join(map(str, gone))} are missing",)
