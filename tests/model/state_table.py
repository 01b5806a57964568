"""The table of states in docs/design.md as data: what may happen to a job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORE = ROOT / "services" / "job_store"
NO_JOB = ("–", "gone")
"""The states before a job's start and after its deletion."""
UNCHANGED = ("refused", "no change")

_LABEL = re.compile(r"\[(T\d\d)\]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: in these states, each of these calls does this."""

    label: str
    states: tuple[str, ...]
    calls: tuple[str, ...]
    then: str
    """The next state, `refused` or `no change`."""
    is_next_attempt: bool


@cache
def state_table() -> tuple[Line, ...]:
    """The lines, in the order of the page."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = page.partition("\n## States\n")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| [")]
    return tuple(_line(*(cell.strip() for cell in row.strip("|").split("|"))) for row in rows)


def _line(label: str, states: str, calls: str, then: str, where: str) -> Line:
    named = _LABEL.fullmatch(label)
    assert named, label
    return Line(
        named[1],
        tuple(states.split(", ")),
        tuple(calls.split(", ")),
        then,
        where.startswith("the next attempt"),
    )


@cache
def lines_for(state: str, call: str) -> tuple[Line, ...]:
    """What the table says about a call in a state; several lines where more than these decide."""
    return tuple(line for line in state_table() if state in line.states and call in line.calls)


def labels_in(pattern: str) -> set[str]:
    """The labels in the files of the job store that match."""
    files = STORE.glob(pattern)
    return {label for path in files for label in _LABEL.findall(path.read_text(encoding="utf-8"))}
