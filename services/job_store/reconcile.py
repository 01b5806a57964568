"""Primitives of the reconciler: what runs, what waits, declaring a lease lost, leadership."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from job_store.alerts import AlertDelivery, first_stall
from job_store.codec import decode_job, encode_error
from job_store.connection import AsyncConnection
from job_store.errors import RecordVersionError
from job_store.ids import check_id
from job_store.jobs import queued_attempts
from job_store.keys import Keys
from job_store.records import (
    JobError,
    JobRecord,
    JobStatus,
    Phase,
    QueuedAttempt,
)
from job_store.unreadable import readable

_SIGNS = ("phase", "current_step", "pulses", "phase_progress", "progress_at")
_WATCHED = (
    *_SIGNS,
    "attempt",
    "claim_id",
    "worker_id",
    "status",
    "lease_count",
    "stop_timeout_seconds",
    "stall_timeout_seconds",
    "alert_rules",
    "nodes",
    "v",
)
_LISTEN_MS = 2000


class Seen(NamedTuple):
    """Fields of a record, as they were when a verdict was reached."""

    fields: str
    """Names with commas between them; empty for none."""
    values: str
    """With spaces between them."""


NOTHING_SEEN = Seen("", "")
"""For a verdict that holds whatever the worker has reported since."""


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """What the reconciler watches of a claimed attempt."""

    job_id: str
    attempt: int
    claim_id: str
    worker_id: str
    status: JobStatus
    """RUNNING or STOPPING."""
    lease_count: int
    """Grows with every renewal; the reconciler measures how long it has not changed."""
    phase: Phase
    current_step: int
    sign_of_life: str
    """Another one after each step, batch of a validation or pulse; the reconciler measures how
    long it stays the same."""
    stop_timeout_seconds: float
    stall_timeout_seconds: float
    first_stall_alert: float = math.inf
    """Seconds without a sign of life after which one of its alerts fires; infinity without one."""
    nodes: int = 1
    """Workers that train it together; each of them holds the claim."""

    @property
    def lease(self) -> Seen:
        """What is to be the same still where its lease is said to have run out."""
        return Seen("lease_count", str(self.lease_count))

    @property
    def sign(self) -> Seen:
        """What is to be the same still where it is said to have stalled."""
        return Seen(",".join(_SIGNS), self.sign_of_life)


@dataclass(frozen=True, slots=True)
class DelayedRetry:
    """An attempt that waits for the end of a pause."""

    job_id: str
    attempt: int
    failures: int
    """In a row, before it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the reconciler is to look at now, instead of in its next round."""

    notice_id: str
    job_id: str
    attempt: int
    claim_id: str
    """Of a claim whose worker's process has ended; empty where the attempt waits for a message."""


class ReconcileStore:
    """The calls that only the reconciler makes; it decides when."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection
        self._keys = Keys(connection.prefix)

    async def fire_stalled(self, attempt: RunningAttempt, seconds: float) -> bool:
        """Fire the alerts for a stall of so many seconds; once for the same sign of life.

        False where the attempt has ended meanwhile.
        """
        claim = (attempt.job_id, attempt.attempt, attempt.claim_id)
        return await self._db.run("fire_stalled", *claim, attempt.sign_of_life, seconds) is not None

    async def alerting_jobs(self, limit: int = 100_000) -> Sequence[str]:
        """Return jobs with alerts that may have to be sent, oldest first."""
        key = self._keys.index("alerting")
        return [id.decode() for id in await self._db.command("ZRANGE", key, 0, limit - 1)]

    async def note_delivery(
        self,
        job_id: str,
        alert_id: str,
        delivery: AlertDelivery | None,
        tries: int = 0,
        problem: str = "",
    ) -> None:
        """Record what came of sending a pending alert; None: it has no receiver.

        A job without a pending alert leaves `alerting_jobs`. An alert that was delivered or given
        up meanwhile stays as it is.
        """
        await self._db.run("note_delivery", job_id, alert_id, delivery or "", tries, problem)

    async def running_attempts(self) -> Sequence[RunningAttempt]:
        """Return all claimed attempts (RUNNING and STOPPING), with their lease counters.

        A record of another version is left out: its own program looks after it.
        """
        indexes = await self._db.pipeline(
            ("ZRANGE", self._keys.index("running"), 0, -1),
            ("ZRANGE", self._keys.index("stopping"), 0, -1),
        )
        names = [id.decode() for ids in indexes for id in ids]
        if not names:
            return []
        rows = await self._db.pipeline(
            *[("HMGET", self._keys.job(name), *_WATCHED) for name in names]
        )
        attempts = readable(_running, zip(names, rows, strict=True))
        return [attempt for attempt in attempts if attempt is not None]

    async def queued_attempts(self, limit: int = 1000) -> Sequence[QueuedAttempt]:
        """Return attempts that wait, oldest first, to compare with what the queue holds."""
        return await queued_attempts(self._db, "queued", limit)

    async def declare_lost(
        self, job_id: str, attempt: int, claim_id: str, error: JobError, seen: Seen = NOTHING_SEEN
    ) -> JobRecord | None:
        """End an attempt whose worker is gone; None if another claim is the current one.

        RUNNING becomes QUEUED with attempt + 1, or FAILED once the retries are spent; STOPPING
        becomes STOPPED at its last registered checkpoint. `seen`: what has not changed for too
        long; where it has changed by now, nothing is done and None returned.
        """
        check_id("job", job_id)
        # [T09] [T10] [T11] [T24]
        reply = await self._db.run(
            "declare_lost", job_id, attempt, claim_id, encode_error(error), error.message, *seen
        )
        return decode_job(job_id, json.loads(reply[0])) if reply else None

    async def notices(self, after: str) -> Sequence[Notice]:
        """Return the notices behind the one with this id ("0": all); wait up to 2 s for one."""
        reply = await self._db.blocking_command(
            "XREAD", "COUNT", 1000, "BLOCK", _LISTEN_MS, "STREAMS", self._keys.notices, after
        )
        return [_notice(*entry) for _, entries in reply or () for entry in entries]

    async def delayed_retries(self, limit: int = 1000) -> Sequence[DelayedRetry]:
        """Return attempts that are to wait before they begin.

        Only time can cure what ended the attempt before them.
        """
        ids = await self._db.command("ZRANGE", self._keys.index("delayed"), 0, limit - 1)
        names = [id.decode() for id in ids]
        if not names:
            return []
        fields = ("attempt", "consecutive_failures")
        rows = await self._db.pipeline(
            *[("HMGET", self._keys.job(name), *fields) for name in names]
        )
        # Of a damaged record nothing is said here: who reads the job says so.
        return [
            DelayedRetry(name, int(attempt), int(failures))
            for name, (attempt, failures) in zip(names, rows, strict=True)
            if (attempt or b"").isdigit() and (failures or b"").isdigit()
        ]

    async def release_retry(self, job_id: str, attempt: int) -> bool:
        """End an attempt's pause, so that its message is sent; False if it does not wait."""
        reply = await self._db.run("release_delayed", check_id("job", job_id), attempt)
        return bool(reply and reply[0])

    async def say_waiting(self, job_id: str, attempt: int, message: str) -> None:
        """Put into a queued job's status why it waits; a stale attempt changes nothing."""
        await self._db.run("say_waiting", check_id("job", job_id), attempt, message)

    async def due_sweeps(self, age_seconds: float, limit: int = 100) -> Sequence[str]:
        """Return jobs, deleted ones too, that were entered for a sweep `age_seconds` ago.

        Each is named again at every call until it is `swept`.
        """
        reply = await self._db.run("due_sweeps", int(age_seconds * 1000), limit)
        return sorted(id.decode() for id in reply[0]) if reply else []

    async def swept(self, job_id: str) -> None:
        """Record that the job's files were looked through."""
        await self._db.command("SREM", self._keys.index("sweeping"), job_id)

    async def acquire_leadership(
        self, owner: str, ttl_seconds: float, dead: str = ""
    ) -> tuple[bool, str]:
        """Become or stay the leader; False, with the lock's mark, while another one leads.

        Another owner gives the lock another mark each time that it stays the leader. `dead`: a mark
        that has not changed for so long that its owner does not live.
        """
        reply = await self._db.run("leader", owner, max(1, int(ttl_seconds * 1000)), dead)
        leads, mark = reply or (0, b"")
        return bool(leads), mark.decode()

    async def release_leadership(self, owner: str) -> None:
        """Release the lock for another process; do nothing if `owner` does not hold it."""
        await self._db.run("leader", owner, 0, "")


def stall_message(seconds: float, step: int, phase: Phase) -> str:
    """Return why an attempt without a sign of life is ended."""
    if phase not in (Phase.TRAINING, Phase.VALIDATING, Phase.SAVING):
        return f"no sign of life for {seconds:g} s while it prepared its data and model"
    if phase is Phase.VALIDATING:
        return f"no batch of the validation at step {step} for {seconds:g} s"
    return f"no step for {seconds:g} s after step {step}"


def _notice(notice_id: bytes, fields: Mapping[bytes, bytes]) -> Notice:
    names = (b"job", b"attempt", b"claim")
    job, attempt, claim = (fields.get(name, b"").decode("utf-8", "replace") for name in names)
    return Notice(notice_id.decode(), job, int(attempt) if attempt.isdigit() else 0, claim)


def _running(job_id: str, row: Sequence[bytes | None]) -> RunningAttempt | None:
    f = {
        name: (value or b"").decode("utf-8", "replace")
        for name, value in zip(_WATCHED, row, strict=True)
    }
    if f["status"] not in ("running", "stopping"):
        return None  # moved on since the index was read
    try:
        return RunningAttempt(
            job_id=job_id,
            attempt=int(f["attempt"]),
            claim_id=f["claim_id"],
            worker_id=f["worker_id"],
            status=JobStatus(f["status"]),
            lease_count=int(f["lease_count"]),
            phase=Phase(f["phase"]),
            current_step=int(f["current_step"]),
            sign_of_life=" ".join(f[name] for name in _SIGNS),
            stop_timeout_seconds=float(f["stop_timeout_seconds"]),
            stall_timeout_seconds=float(f["stall_timeout_seconds"]),
            first_stall_alert=first_stall(f["alert_rules"]),
            nodes=int(f["nodes"] or 1),
        )
    except ValueError as error:
        raise RecordVersionError("job", job_id, f"version {f['v']}", "a readable one") from error
