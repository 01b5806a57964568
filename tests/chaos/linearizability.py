"""Whether a history of calls has an order that a job could have lived through.

Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993): an order of all answered
calls, each placed between its begin and its end, such that the model gives each the answer that it
got. A call whose answer was lost may take its place at any time after its begin, or never. Lowe's
variant ("Testing for linearizability", 2017) remembers which calls were placed with which state,
and looks at no such pair twice.

The job also moves by itself. So the search goes over *sets* of states: all that the job may be in,
given the calls that were placed. One history holds the calls of one job.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from job_model import Operation, State, moves, outcomes

States = frozenset[State]


@dataclass(frozen=True)
class Verdict:
    """Whether there is an order; if not, the calls of which none could be placed next.

    `placed`: the most calls that could be placed. `states`: what the job may have been in then.
    """

    holds: bool
    placed: int = 0
    stuck: tuple[Operation, ...] = ()
    states: States = frozenset()

    def __bool__(self) -> bool:
        return self.holds


def check(operations: Iterable[Operation]) -> Verdict:
    """Search an order of the calls of one job."""
    calls = sorted(_anonymous(_reduced(operations)), key=lambda call: call.begin)
    last_attempt = _last_attempt(calls)
    answered = sum(1 << i for i, call in enumerate(calls) if call.answer)
    first = (0, _closure([State()], last_attempt))
    seen, open_, best = {first}, [first], (-1, first)
    while open_:
        placed, states = at = open_.pop()
        if placed & answered == answered:
            return Verdict(True, placed.bit_count())
        best = max(best, (placed.bit_count(), at), key=lambda one: one[0])
        # The call that ended first is tried first: it is popped last in, first out.
        for i in sorted(_next(calls, placed), key=lambda i: -calls[i].end):
            after = (placed | 1 << i, _after(states, calls[i], last_attempt))
            if after[1] and after not in seen:
                seen.add(after)
                open_.append(after)
    count, (placed, states) = best
    stuck = tuple(calls[i] for i in _next(calls, placed) if calls[i].answer)
    return Verdict(False, count, stuck, states)


def _last_attempt(calls: Sequence[Operation]) -> int:
    """An attempt that is late enough: the attempts that some resumes made are not known."""
    known = [call.answer.attempt for call in calls if call.answer and call.answer.attempt]
    unknown = [call for call in calls if call.call == "resume" and not _attempt(call)]
    return max(known, default=0) + 1 + len(unknown)


def _attempt(call: Operation) -> int | None:
    return call.answer.attempt if call.answer else None


def _next(calls: Sequence[Operation], placed: int) -> Iterator[int]:
    """The calls that may come next: they began before any unplaced one had ended."""
    earliest_end = math.inf
    for i, call in enumerate(calls):
        if placed >> i & 1:
            continue
        if call.begin > earliest_end:
            return
        earliest_end = min(earliest_end, call.end)
        yield i


def _after(states: States, call: Operation, last_attempt: int) -> States:
    after = [
        new
        for state in states
        for new, answer in outcomes(state, call)
        if call.answer is None or answer.may_be(call.answer)
    ]
    return _closure(after, last_attempt)


def _closure(states: Iterable[State], last_attempt: int) -> States:
    """These states and all that the job reaches from them by itself, up to an attempt."""
    found, open_ = set[State](), list(states)
    while open_:
        state = open_.pop()
        if state not in found and state.attempt <= last_attempt:
            found.add(state)
            open_ += moves(state)
    return frozenset(found)


def _reduced(operations: Iterable[Operation]) -> Iterator[Operation]:
    """The calls that matter: a read without an answer says nothing, and of the lost tries of one
    request the first can take the place of each other."""
    lost: dict[str, Operation] = {}
    for number, call in enumerate(operations):
        if call.answer is not None:
            yield call
        elif call.call != "get":
            key = call.request or str(number)
            begin = min(call.begin, lost[key].begin) if key in lost else call.begin
            lost[key] = replace(call, begin=begin, end=math.inf)
    yield from lost.values()


def _anonymous(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Without the ids of requests that were sent once: no answer to them has to be remembered."""
    calls = list(operations)
    sent = Counter(call.request for call in calls)
    for call in calls:
        yield call if sent[call.request] > 1 else replace(call, request="")
