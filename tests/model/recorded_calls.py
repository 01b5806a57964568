"""The calls of the actors, as the Python face of the job store sends them.

Each is made once on a connection that only records it: script and arguments. The checker sends what
was recorded, from as many states as it likes, without the waits of the real connections.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from job_store.attempts import AttemptStore, Unregistered
from job_store.history import HistoryStore
from job_store.history_records import MetricPoint
from job_store.jobs import JobStore
from job_store.reconcile import NOTHING_SEEN, ReconcileStore, Seen
from job_store.records import (
    CheckpointRecord,
    Execution,
    FencingToken,
    JobError,
    NewJob,
    Outcome,
    OutcomeKind,
    Phase,
    Request,
)

PREFIX = "te:"
JOB = "job_" + "0" * 26
MAX_RETRIES = 1
FIRST_MAX_STEPS, LARGER_MAX_STEPS = 2, 3
STOPS_AT = 1
"""The step at which the job stops by itself, until it is resumed."""
LOST = JobError("WORKER_LOST", "no lease was renewed")
DISK_FULL = JobError("DISK_FULL", "the disk is full")

Call = tuple[str, ...]
"""A script and its arguments, without the prefix."""


class _RecordedError(Exception):
    def __init__(self, call: Call) -> None:
        self.call = call


class _Recorder:
    """In place of a connection: raises the first call of a script instead of sending it."""

    prefix = PREFIX

    def run(self, name: str, *arguments: Any, request: Request | None = None) -> Any:
        raise _RecordedError((name, *map(_text, arguments)))


class _AsyncRecorder(_Recorder):
    def batches(self, action: Any, most: int) -> None:
        """None: nothing is gathered where each call ends at its script."""

    async def run(self, name: str, *arguments: Any, request: Request | None = None) -> Any:
        raise _RecordedError((name, *map(_text, arguments)))


def _text(argument: Any) -> str:
    return argument.decode("latin-1") if isinstance(argument, bytes) else str(argument)


def _recorded(call: Callable[[], Any]) -> Call:
    try:
        result = call()
        if isinstance(result, Coroutine):
            result.send(None)
    except _RecordedError as recorded:
        return recorded.call
    raise AssertionError("the call runs no script")


_attempts: Any = AttemptStore(_Recorder())  # type: ignore[arg-type]
_jobs: Any = JobStore(_AsyncRecorder())  # type: ignore[arg-type]
_reconcile: Any = ReconcileStore(_AsyncRecorder())  # type: ignore[arg-type]
_history: Any = HistoryStore(_AsyncRecorder())  # type: ignore[arg-type]


def claim_id(attempt: int) -> str:
    """The claim of the worker that gets this attempt."""
    return f"claim-{attempt}"


def token(attempt: int, claim: str | None = None) -> FencingToken:
    """The token of this attempt, or one with another claim."""
    return FencingToken(JOB, attempt, claim_id(attempt) if claim is None else claim)


def checkpoint_id(attempt: int, step: int, is_found: bool = False) -> str:
    """What `attempt` saved at `step`; `is_found`: registered by the worker that found the file."""
    return f"ckpt_{'0' * 20}{int(is_found)}{attempt:02}{step:03}"


def attempt_and_step(checkpoint: str) -> tuple[int, int]:
    """The inverse of `checkpoint_id`: which file it is."""
    return int(checkpoint[-5:-3]), int(checkpoint[-3:])


def _record(attempt: int, step: int, is_found: bool = False) -> CheckpointRecord:
    return CheckpointRecord(
        checkpoint_id=checkpoint_id(attempt, step, is_found),
        job_id=JOB,
        attempt=attempt,
        step=step,
        loss=1 / step,
        size_bytes=1,
        sha256="ab" * 32,
        artifact=f"jobs/{JOB}/attempts/{attempt}/{step}",
        created_at=0,
        best_score=1 / step,
        metrics={},
    )


# A person


def _request(name: str) -> Request:
    return Request(name, "body")


@cache
def start(body: str = "body", *, pauses: bool = False) -> Call:
    """StartJob, always with one request_id."""
    run = Execution(max_retries=MAX_RETRIES)
    pause = STOPS_AT if pauses else None
    new = NewJob("{}", FIRST_MAX_STEPS, "/data", name="tiny", execution=run, stop_at_step=pause)
    name, _, *rest = _recorded(lambda: _jobs.create(new, Request("start", body)))
    return (name, JOB, *rest)


@cache
def stop(request: str = "stop") -> Call:
    """StopJob."""
    return _recorded(lambda: _jobs.request_stop(JOB, _request(request)))


@cache
def resume(checkpoint: str = "", max_steps: int | None = None, from_start: bool = False) -> Call:
    """ResumeJob."""
    return _recorded(
        lambda: _jobs.resume(
            JOB,
            checkpoint_id=checkpoint or None,
            max_steps=max_steps,
            from_start=from_start,
            request=_request("resume"),
        )
    )


@cache
def delete() -> Call:
    """DeleteJob."""
    return _recorded(lambda: _jobs.delete(JOB, _request("delete")))


@cache
def delete_checkpoint(checkpoint: str) -> Call:
    """DeleteCheckpoint, once the job of the checkpoint is known."""
    request = _request("delete_checkpoint")
    memo = _recorded(lambda: _jobs.delete(JOB, request))[2:]
    return ("remove_checkpoint", JOB, checkpoint, "", "", *memo)


# A worker


@cache
def claim(attempt: int, by: str = "", found: tuple[int, int] | None = None) -> Call:
    """Take an attempt; `found`: attempt and step of a file that was saved and not registered."""
    unregistered = found and Unregistered(_record(*found, is_found=True), claim_id(found[0]))
    by = by or claim_id(attempt)
    return _recorded(lambda: _attempts.claim(JOB, attempt, "worker", by, unregistered))


@cache
def confirm_start(held: FencingToken, step: int) -> Call:
    """Say where the attempt begins."""
    return _recorded(lambda: _attempts.confirm_start(held, step))


@cache
def publish(held: FencingToken, first: int, last: int, of_attempt: int | None = None) -> Call:
    """Publish the points of these steps."""
    points = [MetricPoint(step, {"loss": 1 / step}, 0) for step in range(first, last + 1)]
    return _recorded(lambda: _attempts.publish_metrics(held, points, of_attempt=of_attempt))


@cache
def register(held: FencingToken, attempt: int, step: int) -> Call:
    """Register a checkpoint."""
    return _recorded(lambda: _attempts.register_checkpoint(held, _record(attempt, step)))


@cache
def unregister(held: FencingToken, checkpoint: str) -> Call:
    """Retire a checkpoint (rotation)."""
    return _recorded(lambda: _attempts.unregister_checkpoint(held, checkpoint))


@cache
def finish(held: FencingToken, kind: OutcomeKind, error: JobError | None = None) -> Call:
    """End the attempt."""
    return _recorded(lambda: _attempts.finish(held, Outcome(kind, error)))


@cache
def drop_hidden_points(held: FencingToken, kept: int = 0) -> Call:
    """Ask for points to archive, where Redis may hold `kept`: hidden ones are dropped."""
    name, job, attempt, claim, _, count = _recorded(lambda: _attempts.surplus(held))
    return (name, job, attempt, claim, str(kept), count)


@cache
def archive(held: FencingToken, of_attempt: int, step: int) -> Call:
    """Enter a file that holds the point of this step."""
    from job_store.archive import Segment

    segment = Segment(step, step, 1, f"archive/{of_attempt}/{step}", 1, "ab" * 32)
    return _recorded(lambda: _attempts.archive(held, of_attempt, segment))


@cache
def signs_of_life(held: FencingToken) -> tuple[Call, ...]:
    """What changes only counters: the lease, and the progress of step 0."""
    return (
        _recorded(lambda: _attempts.renew_lease(held)),
        _recorded(lambda: _attempts.report_progress(held, 0, Phase.TRAINING)),
    )


@cache
def texts(held: FencingToken) -> tuple[Call, ...]:
    """What people read: a note, and the output."""
    return (
        _recorded(lambda: _attempts.note(held, "a note")),
        _recorded(lambda: _attempts.append_logs(held, [])),
    )


# The control planes


@cache
def mark_enqueued(attempt: int) -> Call:
    """The message is in the queue."""
    return _recorded(lambda: _jobs.mark_enqueued(JOB, attempt))


@cache
def request_message(attempt: int) -> Call:
    """The message was lost."""
    return _recorded(lambda: _jobs.request_message(JOB, attempt))


@cache
def release_retry(attempt: int) -> Call:
    """The pause before a retry is over."""
    return _recorded(lambda: _reconcile.release_retry(JOB, attempt))


@cache
def declare_lost(attempt: int, claim: str, seen: Seen = NOTHING_SEEN) -> Call:
    """The worker renews no lease, makes no progress, or does not stop."""
    return _recorded(lambda: _reconcile.declare_lost(JOB, attempt, claim, LOST, seen))


@cache
def due_sweeps() -> Call:
    """Begin the sweeps that were asked for."""
    return _recorded(lambda: _reconcile.due_sweeps(0))


@cache
def forget_checkpoint(checkpoint: str) -> Call:
    """The files of a retired checkpoint are gone."""
    return _recorded(lambda: _jobs.forget_checkpoint(JOB, checkpoint))


# Readers


@cache
def read_points() -> Call:
    """All points that readers see."""
    return _recorded(lambda: _history.page(JOB))
