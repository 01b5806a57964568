"""What a watcher of a job may be sent, in which order.

Each logged step comes once, in order and without a gap; a `rewound` event takes steps back, and
they come again. No step comes while no worker has the job, above all not after its end. States
follow each other as the model allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from job_model import ABSENT, ENDED, HELD, State, all_moves

Event = dict[str, Any]


class Watcher:
    """Takes the events of one watcher, across all of its connections, and notes what is wrong.

    Jobs log every step. `max_steps`: the last one of the run.
    """

    def __init__(self, max_steps: int) -> None:
        self.problems: list[str] = []
        self.last_step = 0
        self._max_steps = max_steps
        self._state = State()

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event["event"]:
            case "state":
                self._take_state(event["status"], event["attempt"])
            case "metrics":
                self._take_step(event["step"])
            case "rewound":  # a replay shows rewinds also of steps that it leaves out
                self.last_step = min(self.last_step, event["to_step"])

    def finish(self) -> None:
        """Take the end of the stream: a job that succeeded has logged its last step."""
        if self._state.status == "succeeded" and self.last_step != self._max_steps:
            last = f"the job succeeded after step {self._max_steps}"
            self._note(f"the last step that came is {self.last_step}; {last}")

    def _take_state(self, status: str, attempt: int) -> None:
        before, self._state = self._state, State(status, attempt)
        if before.status == ABSENT:
            possible = {("queued", 1)}
        else:
            possible = {(before.status, before.attempt), *all_moves(before)}
        if (status, attempt) not in possible:
            now, then = _named(self._state), _named(before)
            self._note(f"{now} came after {then}, which the state table does not allow")

    def _take_step(self, step: int) -> None:
        if step <= self.last_step:
            self._note(f"step {step} came again after step {self.last_step}")
        elif step > self.last_step + 1:
            self._note(f"step {step} came after step {self.last_step}: a gap")
        if self._state.status in ENDED:
            self._note(f"step {step} came after the end, {_named(self._state)}")
        elif self._state.status not in HELD:
            self._note(f"step {step} came while the job was {_named(self._state)}")
        self.last_step = step

    def _note(self, problem: str) -> None:
        self.problems.append(problem)


def _named(state: State) -> str:
    return f"{state.status} (attempt {state.attempt})"


def event_problems(events: Iterable[Event], max_steps: int) -> list[str]:
    """What is wrong with the events of one watcher."""
    watcher = Watcher(max_steps)
    for event in events:
        watcher.take(event)
    watcher.finish()
    return watcher.problems


def point_problems(steps: Iterable[int]) -> list[str]:
    """What is wrong with the steps of a stream of points alone, which hides rewinds."""
    problems, last = [], 0
    for step in steps:
        if step != last + 1:
            problems.append(f"step {step} came after step {last}")
        last = step
    return problems
