"""Attempts as a worker sees them (synchronous): claim, lease, publish, checkpoints, finish.

Every write carries the FencingToken of the claim and raises FencedError where it is stale.
Every call may be repeated after a broken connection: repetitions change nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from job_store.attempt_history import (
    LOGGED_ATTEMPTS,
    AttemptHistory,
    signals_of,
    token_arguments,
)
from job_store.codec import (
    decode_checkpoint,
    decode_job,
    encode_checkpoint,
    encode_error,
    text_fields,
)
from job_store.durability import DISK_SECONDS, DiskWatch
from job_store.errors import JobStoreError, NotFoundError
from job_store.ids import check_id, check_worker_id, new_claim_id
from job_store.journal import JournalEntry, read_entry, was_deleted
from job_store.records import (
    UNCOUNTED,
    AttemptRecord,
    CheckpointRecord,
    Claimed,
    FencingToken,
    JobRecord,
    Outcome,
    Phase,
    PhaseProgress,
    Signals,
)
from job_store.segments import AttemptReads, attempt_records

PLACE_DONE, PLACE_LOST = -1, -2
"""In place of how often a place was renewed: its processes have trained to the end, or have not."""
_MAX_NOTICES = 1000
MOST_SAMPLES = 720
"""Samples of a job's processes that are kept: an hour of one each 5 seconds, then sparser ones."""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A sound checkpoint that the last claimed attempt saved and did not register."""

    record: CheckpointRecord
    claim_id: str
    """Of the attempt that saved it."""


class AttemptStore(AttemptHistory):
    """The calls of a worker."""

    def get(self, job_id: str) -> JobRecord:
        """Return the job's record.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        check_id("job", job_id)
        stored, config = self._db.transaction(
            ("HGETALL", self._keys.job(job_id)), ("GET", self._keys.job(job_id, "config"))
        )
        if not stored:
            raise NotFoundError("job", job_id)
        return decode_job(job_id, text_fields(stored), (config or b"").decode())

    def claim(
        self,
        job_id: str,
        attempt: int,
        worker_id: str,
        claim_id: str | None = None,
        unregistered: Unregistered | None = None,
    ) -> Claimed | None:
        """Take a queued attempt; None for any duplicate, stale, stopped or deleted one.

        First registers `unregistered` if it is newer than all registered checkpoints and not
        beyond `max_steps`, unless a person chose where to begin. Then cuts the history at the
        newest registered checkpoint.

        Raises:
            RecordVersionError: The record cannot be read.
            NotFoundError: `job_id` does not have the form of an id.
        """
        check_id("job", job_id)
        check_worker_id(worker_id)
        claim_id = claim_id or new_claim_id()
        arguments: tuple[Any, ...] = ()
        if unregistered is not None:
            arguments = (unregistered.claim_id, *_registration(unregistered.record))
        # [T02] [T23]
        reply = self._db.run(
            "claim", job_id, int(attempt), worker_id, claim_id, LOGGED_ATTEMPTS, *arguments
        )
        return self._claimed(reply, claim_id)

    def confirm_start(
        self,
        token: FencingToken,
        step: int,
        notes: Sequence[str] = (),
        data_summary: str = "",
        data_warnings: Sequence[str] = (),
        environment: str = "",
    ) -> None:
        """Record, once its checkpoint is loaded, that the attempt starts after `step` (0: without).

        Needed before the first point. Where the step is lower than that of the newest registered
        checkpoint (it was damaged), cuts the history there and retires the later checkpoints.
        `notes` say why the run is not bitwise reproducible, where it is not.
        """
        lists = (json.dumps(list(notes)), data_summary, json.dumps(list(data_warnings)))
        self._db.run("confirm_start", *token_arguments(token), step, *lists, environment)

    def renew_lease(self, token: FencingToken) -> Signals:
        """Count the lease up (every 3 s, from outside the trainer).

        Raises:
            FencedError: Another attempt has taken over.
        """
        return signals_of(self._db.run("lease", *token_arguments(token)))

    def take_place(self, token: FencingToken, place: int, taker: str) -> Claimed | None:
        """Take a place beside the worker with this token; None where it is taken, or the token old.

        `taker` is a random id, which makes a repeat harmless.
        """
        reply = self._db.run("take_place", *token_arguments(token), place, taker)
        return self._claimed(reply, token.claim_id)

    def renew_place(self, token: FencingToken, place: int, has_worked: bool) -> Signals:
        """Count a place's lease up, as `renew_lease` does that of the attempt.

        `has_worked`: whether its trainer has shown a sign of life since the last renewal.

        Raises:
            FencedError: The attempt is over.
        """
        arguments = (*token_arguments(token), place, int(has_worked))
        return signals_of(self._db.run("renew_place", *arguments))

    def leave_place(self, token: FencingToken, place: int, count: int) -> None:
        """Say that a place's processes have ended: PLACE_DONE or PLACE_LOST.

        Raises:
            FencedError: The attempt is over.
        """
        self._db.run("leave_place", *token_arguments(token), place, count)

    def places(self, job_id: str) -> dict[int, int]:
        """Return the taken places: how often each was renewed, or how it ended."""
        stored = text_fields(
            self._db.command("HGETALL", self._keys.job(check_id("job", job_id), "places"))
        )
        taken = [int(name) for name in stored if name.isdigit()]
        return {place: int(stored.get(f"count:{place}", 0)) for place in taken}

    def work_of_places(self, job_id: str) -> int:
        """Return how often the places of the current attempt were renewed after some work."""
        key = self._keys.job(check_id("job", job_id), "places")
        return int(self._db.command("HGET", key, "work") or 0)

    def report_progress(
        self,
        token: FencingToken,
        step: int,
        phase: Phase,
        tokens_seen: int = 0,
        pulses: int = 0,
        done: PhaseProgress = UNCOUNTED,
        eta_seconds: float | None = None,
    ) -> Signals:
        """Report the last executed step and what the trainer does, without metrics.

        `pulses` counts its signs of life besides steps. A change of any argument but the ETA counts
        as progress.

        Raises:
            FencedError: Another attempt has taken over.
        """
        eta_ms = "" if eta_seconds is None else int(eta_seconds * 1000)
        progress = (
            step,
            phase.value,
            int(tokens_seen),
            pulses,
            f"{done.done}/{done.total}/{done.per_second:.6g}",
            eta_ms,
        )
        return signals_of(self._db.run("progress", *token_arguments(token), *progress))

    def note(self, token: FencingToken, message: str) -> None:
        """Set the message about the running attempt in the job's status; empty clears it.

        Raises:
            FencedError: Another attempt has taken over.
        """
        self._db.run("note", *token_arguments(token), message)

    def append_system(self, token: FencingToken, time_ms: int, values: Mapping[str, float]) -> None:
        """Append a sample of what the trainer's processes use.

        Raises:
            FencedError: Another attempt has taken over.
        """
        stored = json.dumps({name: round(value, 1) for name, value in values.items()})
        self._db.run("append_system", *token_arguments(token), MOST_SAMPLES, time_ms, stored)

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return all attempts in the job's index, oldest first, with what their streams hold.

        The newest may not be claimed yet (empty `claim_id`) after a resume.
        """
        check_id("job", job_id)
        index = self._db.command("HGETALL", self._keys.job(job_id, "attempts"))
        reads = AttemptReads(self._keys, job_id, index)
        replies = self._db.transaction(*reads.commands) if reads.commands else []
        return attempt_records(reads, replies)

    def register_checkpoint(self, token: FencingToken, record: CheckpointRecord) -> None:
        """Register a complete checkpoint, after its metrics were published.

        Raises:
            FencedError: Another attempt has taken over.
        """
        self._db.run("register_checkpoint", *token_arguments(token), *_registration(record))

    def unregister_checkpoint(self, token: FencingToken, checkpoint_id: str) -> bool:
        """Drop a checkpoint from the registry, before its files; False if it was not there.

        It is among `retired_checkpoints` until `forget_checkpoint` says that the files are gone.
        """
        check_id("checkpoint", checkpoint_id)
        job_id, attempt, claim_id = token_arguments(token)
        no_memo = ("", "", "")
        reply = self._db.run(
            "remove_checkpoint", job_id, checkpoint_id, attempt, claim_id, *no_memo
        )
        return bool(reply and reply[0])

    def forget_checkpoint(self, job_id: str, checkpoint_id: str) -> None:
        """Drop the record of a retired checkpoint, whose files are gone."""
        check_id("checkpoint", checkpoint_id)
        self._db.run("forget_checkpoint", check_id("job", job_id), checkpoint_id)

    def checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Return registered checkpoints, ascending by step."""
        check_id("job", job_id)
        ids = self._db.command("ZRANGE", self._keys.job(job_id, "checkpoints"), 0, -1)
        return self._checkpoints(job_id, ids)

    def retired_checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Return the checkpoints that left the registry and whose files may be removed."""
        check_id("job", job_id)
        ids = self._db.command("SMEMBERS", self._keys.job(job_id, "retired_checkpoints"))
        return self._checkpoints(job_id, sorted(ids))

    def finish(self, token: FencingToken, outcome: Outcome) -> JobRecord:
        """End the attempt, after everything was published.

        The state table decides; the record returned says where the job went.

        Raises:
            FencedError: Another attempt has taken over.
            TransitionRefusedError: The job's state forbids it.
        """
        message = outcome.message or (outcome.error.message if outcome.error else "")
        # [T06] [T07] [T08] [T09] [T10] [T11] [T12] [T13] [T17] [T25] [T24]
        reply = self._db.run(
            "finish",
            *token_arguments(token),
            outcome.kind.value,
            encode_error(outcome.error),
            message,
        )
        return self._with_config(reply)

    def journal_entry(self, job_id: str) -> JournalEntry | None:
        """Return the job as it is now, for the journal; None where there is no such job."""
        reply = self._db.run("journal_entry", "job", check_id("job", job_id))
        return read_entry("job", job_id, reply)

    def was_deleted(self, job_id: str) -> bool:
        """Whether the job was deleted; ask after an entry of the journal was written."""
        return was_deleted(self._db.run("was_deleted", check_id("job", job_id)))

    def report_ended_worker(self, token: FencingToken) -> None:
        """Tell the reconciler that the process which held this claim has ended."""
        job_id, attempt, claim_id = token_arguments(token)
        fields = ("job", job_id, "attempt", attempt, "claim", claim_id)
        self._db.command("XADD", self._keys.notices, "MAXLEN", "~", _MAX_NOTICES, "*", *fields)

    def wait_for_disk(self, seconds: float = DISK_SECONDS) -> bool:
        """Whether all that this connection wrote is on the server's disk; wait at most `seconds`.

        Raises:
            StoreUnavailableError: The server may have been started again, so check what it still
                holds (only where the connection announces its renewal).
        """
        watch = DiskWatch(self._db)
        watch.begin()
        return watch.is_written(seconds)

    def _claimed(self, reply: list[Any] | None, claim_id: str) -> Claimed | None:
        if reply is None:
            return None
        record = self._with_config(reply)
        resume_from = None
        if record.resume_checkpoint_id:
            named = [record.resume_checkpoint_id.encode()]
            resume_from = next(iter(self._checkpoints(record.job_id, named)), None)
        return Claimed(record, FencingToken(record.job_id, record.attempt, claim_id), resume_from)

    def _with_config(self, reply: list[Any] | None) -> JobRecord:
        if reply is None:
            raise JobStoreError("a script that answers with a job answered with none")
        fields: Mapping[str, str] = json.loads(reply[0])
        job_id = fields["job_id"]
        config = self._db.command("GET", self._keys.job(job_id, "config"))
        return decode_job(job_id, fields, (config or b"").decode())

    def _checkpoints(self, job_id: str, ids: Sequence[bytes]) -> list[CheckpointRecord]:
        if not ids:
            return []
        stored, best = self._db.transaction(
            ("HMGET", self._keys.job(job_id, "checkpoint_data"), *ids),
            ("HGET", self._keys.job(job_id), "best_checkpoint_id"),
        )
        best_id = (best or b"").decode()
        return [
            decode_checkpoint(id.decode(), data, best_id)
            for id, data in zip(ids, stored, strict=True)
            if data is not None
        ]


def _registration(record: CheckpointRecord) -> tuple[str, int, str, str]:
    """Return id, step, score and record, as arguments of the scripts."""
    check_id("checkpoint", record.checkpoint_id)
    score = record.best_score
    compared = "" if score is None or math.isnan(score) else repr(float(score))
    return record.checkpoint_id, int(record.step), compared, encode_checkpoint(record)
