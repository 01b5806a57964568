"""Histories: what clients asked, were answered and were sent, as JSON lines; and their check.

A line is a call, with `begin` and `end` in seconds, or an event of a stream, with its `time`:

    {"job": "a", "client": "driver", "call": "stop", "request": "r2", "arguments": {},
     "begin": 1.25, "end": 1.31, "outcome": "ok", "status": "stopping", "attempt": 1}
    {"job": "a", "client": "events", "event": "metrics", "time": 1.4, "step": 7}
    {"job": "a", "client": "points", "event": "point", "time": 1.4, "step": 7}
    {"fault": "kill redis", "begin": 1.2, "end": 1.6}

`outcome` is `ok`, the reason of a refusal, or `unknown` where the answer was lost. A job's name
takes the place of its id, which a client may not know yet. A job that is missing in a list counts
as a `get` that did not find it.

    python tests/chaos/history.py FILE...    checks files, and says what is wrong with each
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from job_model import Answer, Operation
from linearizability import Verdict, check
from streams import event_problems, point_problems

Line = dict[str, Any]


class Recorder:
    """Writes the lines of all clients into one file; may be shared by threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def add(self, line: Line) -> None:
        """Append a line."""
        text = json.dumps({key: value for key, value in line.items() if value not in (None, "")})
        with self._lock:
            self._file.write(text + "\n")

    def lines(self) -> list[Line]:
        """All lines so far."""
        with self._lock:
            self._file.flush()
        return read(self._path)

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Line]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def problems(lines: Iterable[Line]) -> list[str]:
    """Everything in a history that one job after another cannot have come to."""
    jobs = defaultdict(list)
    for line in lines:
        if "job" in line:
            jobs[line["job"]].append(line)
    return [f"{job}: {found}" for job in sorted(jobs) for found in job_problems(jobs[job])]


def job_problems(lines: Sequence[Line]) -> list[str]:
    """The same for the lines of one job."""
    found = []
    verdict = check(map(_operation, (line for line in lines if "call" in line)))
    if not verdict:
        found.append(_explained(verdict))
    starts = [line for line in lines if line.get("call") == "start"]
    max_steps = starts[0].get("arguments", {}).get("max_steps", 0) if starts else 0
    for client, events in _events(lines).items():
        points = [event["step"] for event in events if event["event"] == "point"]
        others = [event for event in events if event["event"] != "point"]
        wrong = point_problems(points) + (event_problems(others, max_steps) if others else [])
        found += [f"{client}: {problem}" for problem in wrong]
    return found


def _events(lines: Sequence[Line]) -> dict[str, list[Line]]:
    clients = defaultdict(list)
    for line in lines:
        if "event" in line:
            clients[line["client"]].append(line)
    return clients


def _operation(line: Line) -> Operation:
    known = line["outcome"] != "unknown"
    return Operation(
        line["call"],
        line["begin"],
        line["end"] if known else math.inf,
        Answer(line["outcome"], line.get("status"), line.get("attempt")) if known else None,
        line.get("request", ""),
        line.get("arguments", {}).get("origin", ""),
    )


def _explained(verdict: Verdict) -> str:
    calls = ", or ".join(
        f"{call.call} ({call.begin:.3f} s to {call.end:.3f} s) answered {_said(call.answer)}"
        for call in verdict.stuck
    )
    states = sorted({f"{state.status} (attempt {state.attempt})" for state in verdict.states})
    return (
        f"no order explains the answers; after {verdict.placed} calls the job is one of "
        f"{', '.join(states)}, and none of these fits: {calls}"
    )


def _said(answer: Answer | None) -> str:
    assert answer is not None  # a call without an answer fits everywhere
    said = [answer.outcome, answer.status, answer.attempt and f"attempt {answer.attempt}"]
    return " ".join(str(part) for part in said if part)


def main(paths: Sequence[str]) -> int:
    """Check files; the exit code is 1 where one of them cannot be explained."""
    wrong = 0
    for path in paths:
        found = problems(read(Path(path)))
        print(path, *(found or ["can be explained"]), sep="\n  ")
        wrong += bool(found)
    return min(wrong, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
