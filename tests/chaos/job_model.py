"""What a job may do, seen from outside: the state table of docs/design.md as a small pure function.

A `State` is what a client can learn of one job. `outcomes` says how a call changes it and what the
call answers; `moves` says what the service does by itself. Nothing here knows the service's code:
a history that this model cannot have produced shows a defect of the service, or of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

ABSENT, DELETED = "absent", "deleted"
ENDED = ("stopped", "failed", "succeeded")
HELD = ("running", "stopping")
"""A worker has the job."""
FORBIDDEN, NO_JOB, NO_CHECKPOINT = "state_forbids", "job_not_found", "checkpoint_not_found"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned: `ok` with what it says of the job, or the reason of a refusal."""

    outcome: str = "ok"
    status: str | None = None
    attempt: int | None = None

    def may_be(self, other: Answer) -> bool:
        """Whether both may be the same answer; a field that a door leaves out is None."""
        return self.outcome == other.outcome and all(
            None in (mine, its) or mine == its
            for mine, its in ((self.status, other.status), (self.attempt, other.attempt))
        )


@dataclass(frozen=True, slots=True)
class State:
    """A job: its state, the number of its attempt, and the first answers to requests."""

    status: str = ABSENT
    attempt: int = 0
    answered: frozenset[tuple[str, Answer]] = frozenset()

    def first_answer(self, request: str) -> Answer | None:
        return next((answer for key, answer in self.answered if key == request), None)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a client. `end` is infinite, and `answer` None, where the answer was lost.

    `request`: the request id; calls with one id are one request. `origin`: where a resume is to
    begin: empty for the newest checkpoint, `checkpoint` for an earlier one, `start` for step 0.
    """

    call: str
    begin: float
    end: float
    answer: Answer | None
    request: str = ""
    origin: str = ""


def moves(state: State) -> Iterator[State]:
    """What the service may do by itself next."""
    match state.status:
        case "queued":
            after = [("running", 0)]
        case "running":
            after = [("succeeded", 0), ("failed", 0), ("queued", 1)]
        case "stopping":
            after = [("stopped", 0), ("succeeded", 0), ("failed", 0)]
        case _:
            after = []
    for status, attempts in after:
        yield replace(state, status=status, attempt=state.attempt + attempts)


def outcomes(state: State, operation: Operation) -> Iterator[tuple[State, Answer]]:
    """The states after a call, each with its answer.

    A request that succeeded before changes nothing and gets its first answer.
    """
    first = operation.request and state.first_answer(operation.request)
    if first:
        yield state, first
        return
    for after, outcome in _EFFECTS[operation.call](state, operation.origin):
        answer = _answer(after, outcome)
        if operation.request and outcome == "ok":
            answered = after.answered | {(operation.request, answer)}
            after = replace(after, answered=answered)
        yield after, answer


def _answer(after: State, outcome: str) -> Answer:
    if outcome == "ok" and after.status != DELETED:
        return Answer("ok", after.status, after.attempt)
    return Answer(outcome)


Effects = Iterator[tuple[State, str]]


def _start(state: State, origin: str) -> Effects:
    # Another request would start another job, which is not this one.
    if state.status == ABSENT:
        yield replace(state, status="queued", attempt=1), "ok"


def _get(state: State, origin: str) -> Effects:
    yield state, NO_JOB if state.status in (ABSENT, DELETED) else "ok"


def _stop(state: State, origin: str) -> Effects:
    after = {"queued": "stopped", "running": "stopping", "stopping": "stopping"}
    if state.status in after:
        yield replace(state, status=after[state.status]), "ok"
    else:
        yield state, _refusal(state)


def _resume(state: State, origin: str) -> Effects:
    if state.status not in ENDED:
        yield state, _refusal(state)
        return
    if origin == "checkpoint":
        yield state, NO_CHECKPOINT  # it may have been retired meanwhile
    if state.status == "succeeded" and not origin:
        yield state, FORBIDDEN
    else:
        yield replace(state, status="queued", attempt=state.attempt + 1), "ok"


def _delete(state: State, origin: str) -> Effects:
    if state.status == "queued" or state.status in ENDED:
        yield replace(state, status=DELETED), "ok"
    else:
        yield state, _refusal(state)


def _refusal(state: State) -> str:
    return NO_JOB if state.status in (ABSENT, DELETED) else FORBIDDEN


_EFFECTS = {"start": _start, "get": _get, "stop": _stop, "resume": _resume, "delete": _delete}


def all_moves(state: State) -> set[tuple[str, int]]:
    """Every (status, attempt) one step away: by the service, a stop or a resume."""
    after = set(moves(state))
    for call, origin in (("stop", ""), ("resume", "start")):
        operation = Operation(call, 0, 0, None, origin=origin)
        after |= {new for new, answer in outcomes(state, operation) if answer.outcome == "ok"}
    return {(new.status, new.attempt) for new in after}
