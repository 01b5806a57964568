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

from job_store.archive import Segment, Surplus, encode_document
from job_store.codec import (
    decode_checkpoint,
    decode_job,
    encode_checkpoint,
    encode_error,
    encode_log_line,
    pack_point,
    text_fields,
)
from job_store.connection import Connection
from job_store.durability import DISK_SECONDS, DiskWatch
from job_store.errors import JobStoreError, NotFoundError
from job_store.history_records import MAX_LOG_LINE_BYTES, LogLine, MetricPoint
from job_store.ids import check_id, check_worker_id, new_claim_id
from job_store.journal import JournalEntry, read_entry, was_deleted
from job_store.keys import Keys
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

_MAX_NOTICES = 1000


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A sound checkpoint that the attempt before saved and did not register."""

    record: CheckpointRecord
    claim_id: str
    """Of the attempt that saved it."""


class AttemptStore:
    """The calls of a worker."""

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

        First registers `unregistered` if it is newer than all registered checkpoints, unless
        ResumeJob chose a checkpoint. Then cuts the history at the newest registered checkpoint.

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
        if reply is None:
            return None
        record = self._with_config(reply)
        resume_from = None
        if record.resume_checkpoint_id:
            checkpoints = self._checkpoints(job_id, [record.resume_checkpoint_id.encode()])
            resume_from = checkpoints[0] if checkpoints else None
        return Claimed(record, FencingToken(job_id, record.attempt, claim_id), resume_from)

    def confirm_start(
        self,
        token: FencingToken,
        step: int,
        notes: Sequence[str] = (),
        data_summary: str = "",
        data_warnings: Sequence[str] = (),
    ) -> None:
        """Record, once its checkpoint is loaded, that the attempt starts after `step` (0: without).

        Needed before the first point. Where the step is lower than that of the newest registered
        checkpoint (it was damaged), cuts the history there and retires the later checkpoints.
        `notes` say why the run is not bitwise reproducible, where it is not.
        """
        lists = (json.dumps(list(notes)), data_summary, json.dumps(list(data_warnings)))
        self._db.run("confirm_start", *_token_arguments(token), step, *lists)

    def renew_lease(self, token: FencingToken) -> Signals:
        """Count the lease up (every 3 s, from outside the trainer).

        Raises:
            FencedError: Another attempt has taken over.
        """
        return _signals(self._db.run("lease", *_token_arguments(token)))

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
        return _signals(self._db.run("progress", *_token_arguments(token), *progress))

    def note(self, token: FencingToken, message: str) -> None:
        """Set the message about the running attempt in the job's status; empty clears it.

        Raises:
            FencedError: Another attempt has taken over.
        """
        self._db.run("note", *_token_arguments(token), message)

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
        target = _target(token, of_attempt)
        replies = []
        for start in range(0, max(1, len(points)), _BATCH):
            batch = points[start : start + _BATCH]
            arguments: list[Any] = []
            for point in batch:
                arguments += _point_arguments(point)
            replies.append(
                _signals(
                    self._db.run(
                        "publish_metrics",
                        *_token_arguments(token),
                        target,
                        _tokens_seen(batch),
                        *arguments,
                    )
                )
            )
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
        reply = self._db.run("surplus", *_token_arguments(token), self._max_raw_points, count)
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
            "archive_points", *_token_arguments(token), int(attempt), segment.encode()
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
        target = _target(token, of_attempt)
        replies = []
        for start in range(0, max(1, len(lines)), _BATCH):
            arguments: list[Any] = []
            for line in lines[start : start + _BATCH]:
                arguments += [int(line.seq), encode_log_line(line, MAX_LOG_LINE_BYTES)]
            replies.append(
                _signals(
                    self._db.run(
                        "append_logs",
                        *_token_arguments(token),
                        target,
                        self._max_log_lines,
                        LOGGED_ATTEMPTS,
                        *arguments,
                    )
                )
            )
        return _sum(replies)

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
        self._db.run("register_checkpoint", *_token_arguments(token), *_registration(record))

    def unregister_checkpoint(self, token: FencingToken, checkpoint_id: str) -> bool:
        """Drop a checkpoint from the registry, before its files; False if it was not there.

        It is among `retired_checkpoints` until `forget_checkpoint` says that the files are gone.
        """
        check_id("checkpoint", checkpoint_id)
        job_id, attempt, claim_id = _token_arguments(token)
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
        # [T06] [T07] [T08] [T09] [T10] [T11] [T12] [T13] [T17] [T24]
        reply = self._db.run(
            "finish",
            *_token_arguments(token),
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
        job_id, attempt, claim_id = _token_arguments(token)
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


def _token_arguments(token: FencingToken) -> tuple[str, int, str]:
    return check_id("job", token.job_id), token.attempt, token.claim_id


def _registration(record: CheckpointRecord) -> tuple[str, int, str, str]:
    """Return id, step, score and record, as arguments of the scripts."""
    check_id("checkpoint", record.checkpoint_id)
    score = record.best_score
    compared = "" if score is None or math.isnan(score) else repr(float(score))
    return record.checkpoint_id, int(record.step), compared, encode_checkpoint(record)


def _target(token: FencingToken, of_attempt: int | None) -> int:
    target = token.attempt if of_attempt is None else of_attempt
    if not 1 <= target <= token.attempt:
        raise ValueError(
            f"of_attempt is {target}; it must be an attempt from 1 to {token.attempt}, the own one"
        )
    return target


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
    return [int(point.step), *pack_point(point.time_ms, point.values)]


def _tokens_seen(points: Sequence[MetricPoint]) -> str:
    for point in reversed(points):
        tokens = point.values.get("tokens_seen")
        if tokens is not None and math.isfinite(tokens):
            return str(int(tokens))
    return ""


def _signals(reply: list[Any] | None) -> Signals:
    if reply is None:
        raise JobStoreError("a script that answers with signals answered with none")
    stop, delivered, duplicates = reply
    return Signals(bool(stop), delivered, duplicates)


def _sum(replies: Sequence[Signals]) -> Signals:
    last = replies[-1]
    return Signals(
        last.stop_requested,
        sum(reply.delivered for reply in replies),
        sum(reply.duplicates for reply in replies),
    )
