"""Visits all states that the scripts of the job store can reach, and says what is wrong.

python -P tests/model/checker.py [--attempts N] [--steps N] [--all]

See tests/model/README.md for what a state is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from model import invariants
from model.actors import Actors, Bounds, Move, late_calls, moves, settled
from model.recorded_calls import Call, read_points
from model.server import ModelServer, Parts, Step
from model.state_table import state_table
from model.view import AT_REST, View


class State(NamedTuple):
    """The keys of the job and its actors."""

    parts: Parts
    actors: Actors


class ViolationError(AssertionError):
    """Something that must never happen, with the shortest way to it."""


@dataclass
class Report:
    """What was visited."""

    states: int = 0
    keys: int = 0
    """States of the keys alone."""
    calls: int = 0
    """Calls of scripts that were run from different states of the keys."""
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process and of the server."""
    labels: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{self.states} states ({self.keys} of the keys), {self.transitions} transitions, "
            f"{self.calls} calls, depth {self.depth}, {self.seconds:.1f} s "
            f"({self.cpu_seconds:.1f} s of one core)"
        )


class Checker:
    """One search, breadth first, until no new state is found."""

    def __init__(self, server: ModelServer, bounds: Bounds) -> None:
        self._server = server
        self._bounds = bounds
        self._first = State("", Actors())
        self._came_by: dict[State, tuple[State, str] | None] = {self._first: None}
        self._usual: dict[State, list[State]] = {}
        """Where each state is reached from by what happens by itself."""
        self._steps: dict[tuple[Parts, Call], Step] = {}
        self._keys_seen: set[Parts] = set()
        self._refused: dict[str, State] = {}
        """Kinds of moves that were offered, and never accepted so far."""
        self._accepted: set[str] = set()
        self.report = Report()

    def run(self) -> Report:
        """Visit all states.

        Raises:
            ViolationError: Something must not happen, and can.
        """
        began, cpu_before = time.monotonic(), self._server.cpu_seconds()
        layer = [self._first]
        while layer:
            layer = self._visit(layer)
            self.report.depth += 1
        self._check_ends()
        self.report.states = len(self._came_by)
        self.report.keys = len(self._keys_seen)
        self.report.calls = len(self._steps)
        self.report.seconds = time.monotonic() - began
        self.report.cpu_seconds = self._server.cpu_seconds() - cpu_before
        return self.report

    def _visit(self, layer: list[State]) -> list[State]:
        for state in layer:
            self._check_state(state)
        todo = [
            (state, list(moves(self._view(state), state.actors, self._bounds))) for state in layer
        ]
        self._run_new_calls(todo)
        found: list[State] = []
        for state, possible in todo:
            for move in possible:
                after = self._take(state, move)
                self.report.transitions += 1
                if move.is_usual:
                    self._usual.setdefault(after, []).append(state)
                if after not in self._came_by:
                    self._came_by[after] = (state, move.name)
                    found.append(after)
        return found

    def _run_new_calls(self, todo: list[tuple[State, list[Move]]]) -> None:
        """Run each call that has not been run from these keys, and check what it does."""
        new = {
            (state.parts, move.call): (state, move)
            for state, possible in reversed(todo)
            for move in possible
            if move.call and (state.parts, move.call) not in self._steps
        }
        steps = self._server.run(list(new))
        self._steps |= dict(zip(new, steps, strict=True))
        for (state, move), step in zip(new.values(), steps, strict=True):
            if step.verdict.startswith("error"):
                self._fail(state, step.verdict, move.name)
            self._note_kind(state, move, step)
            before, after = self._view(state), self._server.view(step.after)
            self._report_all(state, invariants.of_move(before, move, step, after), move.name)
            self.report.labels |= set(invariants.labels_of(before, move, step, after))

    def _note_kind(self, state: State, move: Move, step: Step) -> None:
        kind = re.sub(r"\d+", "N", move.name)
        if step.verdict == "ok":
            self._accepted.add(kind)
        self._refused.setdefault(kind, state)

    def _take(self, state: State, move: Move) -> State:
        if move.call is None:
            return State(state.parts, move.actors)
        step = self._steps[state.parts, move.call]
        actors = move.actors if step.verdict == "ok" else state.actors
        return State(step.after, settled(actors, self._view(state), self._server.view(step.after)))

    def _check_state(self, state: State) -> None:
        view = self._view(state)
        if state.parts not in self._keys_seen:
            self._keys_seen.add(state.parts)
            self._report_all(state, invariants.of_keys(view))
            self._check_late_calls(state, view)
            if view.record:
                reply = self._server.reply(state.parts, read_points())
                self._report_all(state, invariants.of_readers(view, reply))
        self._report_all(state, invariants.of_files(view, state.actors, self._bounds))

    def _check_late_calls(self, state: State, view: View) -> None:
        late = late_calls(view)
        verdicts = self._server.late(state.parts, [each.call for each in late])
        if verdicts is None:
            for each in late:
                if self._server.late(state.parts, [each.call]) is None:
                    self._fail(state, f"a late call changes something: {each.call}")
            self._fail(state, "late calls, one after the other, change something")
        for each, verdict in zip(late, verdicts, strict=True):
            self._report_all(state, invariants.of_late_call(view, each, verdict))
            self.report.labels |= set(invariants.labels_of_late_call(view, each, verdict))

    def _check_ends(self) -> None:
        """Each kind of move was accepted somewhere; all states lead to one of rest, by itself."""
        for kind, state in self._refused.items():
            if kind not in self._accepted:
                self._fail(state, f"this is never accepted: {kind}")
        ends = [one for one in self._came_by if self._view(one).state in (*AT_REST, "gone", "–")]
        reached, waiting = set(ends), ends
        while waiting:
            for before in self._usual.get(waiting.pop(), []):
                if before not in reached:
                    reached.add(before)
                    waiting.append(before)
        for state in self._came_by:  # in order of distance
            if state not in reached:
                self._fail(state, "from here the job never comes to rest by itself")

    def _view(self, state: State) -> View:
        return self._server.view(state.parts)

    def _report_all(self, state: State, wrong: Iterator[str], last: str = "") -> None:
        for what in wrong:
            self._fail(state, what, last)

    def _fail(self, state: State, what: str, last: str = "") -> None:
        way = [last] if last else []
        here: State | None = state
        while here is not None:
            came = self._came_by[here]
            here = came[0] if came else None
            if came:
                way.append(came[1])
        numbered = "\n".join(f"  {n}. {name}" for n, name in enumerate(reversed(way), 1))
        raise ViolationError(f"{what}\nafter\n{numbered}\nactors {state.actors}")


def uncovered(reports: list[Report]) -> set[str]:
    """Lines of the state table that no move has shown."""
    return {line.label for line in state_table()} - set().union(*(one.labels for one in reports))
