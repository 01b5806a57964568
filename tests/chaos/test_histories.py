"""The checker of histories: what it must refuse, and what it must accept."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest
from history import main, problems, read
from job_model import Answer, Operation, State, all_moves, moves, outcomes
from linearizability import check

HISTORIES = Path(__file__).parent / "histories"
REFUSED = sorted((HISTORIES / "refused").glob("*.jsonl"))
ACCEPTED = sorted((HISTORIES / "accepted").glob("*.jsonl"))


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_wrong_history_is_refused_for_its_fault(path: Path) -> None:
    lines = read(path)
    found = problems(lines)
    assert len(found) == 1, found
    assert re.search(lines[0]["why"], found[0])


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_wrong_history_is_right_up_to_its_fault(path: Path) -> None:
    lines = [line for line in read(path) if "why" not in line]
    ends = [i for i in range(len(lines) + 1) if problems(lines[:i])]
    assert ends, path
    assert ends[0] >= len(lines) - 3, "the fault is not where the history ends"


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_a_right_history_is_accepted(path: Path) -> None:
    assert problems(read(path)) == []


def test_files_are_checked_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ACCEPTED[0])]) == 0
    assert main([str(ACCEPTED[0]), str(REFUSED[0])]) == 1
    assert "can be explained" in capsys.readouterr().out


def test_the_order_of_calls_that_overlap_is_searched() -> None:
    """Nine clients stop, resume and read at once; the answers fit one order of very many."""
    choose, status, attempt, calls = random.Random(5), "queued", 1, []
    for number in range(9):
        call = "resume" if status == "stopped" else choose.choice(["stop", "get"])
        status = {"resume": "queued", "stop": "stopped"}.get(call, status)
        attempt += call == "resume"
        answer = Answer("ok", status, attempt)
        calls.append(Operation(call, 1 + number / 100, 2, answer, request=f"r{number}"))
    choose.shuffle(calls)
    start = Operation("start", 0, 0.5, Answer("ok", "queued", 1), request="start")
    assert check([start, *calls])
    never = Operation("get", 3, 3.1, Answer("job_not_found"))
    assert not check([start, *calls, never])


def test_the_model_is_the_table_of_states_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
    row = r"^\| \[T\d+\] \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]*)\|"
    table = re.findall(row, page, re.MULTILINE)
    assert len(table) > 20
    moves_by_itself, calls = set(), set()
    for states, causes, after, why in table:
        if "stop_at_step" in why:
            continue  # no job of the histories has one
        for state, cause in itertools.product(_words(states), _words(causes)):
            if cause in ("start", "stop", "resume", "delete"):
                calls.add((state, cause, after.strip()))
            elif after.strip() not in ("refused", "no change"):
                moves_by_itself.add((state, after.strip()))
    assert {
        (status, after.status) for status in _STATES for after in moves(State(status, 1))
    } == moves_by_itself
    assert {
        (_DOCS.get(status, status), call, _effect(State(status, attempt), after, answer))
        for status, attempt in (("absent", 0), *((status, 1) for status in _STATES))
        for call in ("start", "stop", "resume", "delete")
        for origin in ("", "start")
        for after, answer in outcomes(State(status, attempt), _call(call, origin))
        if answer.outcome != "job_not_found"
    } == calls


_STATES = ("queued", "running", "stopping", "stopped", "failed", "succeeded")
_DOCS = {"absent": "–", "deleted": "gone"}
"""What the docs call states that have no name in the contract."""


def _words(cell: str) -> list[str]:
    return [word.strip() for word in cell.split(",")]


def _call(call: str, origin: str) -> Operation:
    return Operation(call, 0, 1, None, origin=origin)


def _effect(before: State, after: State, answer: Answer) -> str:
    if answer.outcome != "ok":
        return "refused"
    return "no change" if before.status == after.status else _DOCS.get(after.status, after.status)


def test_states_that_follow_each_other_in_a_stream() -> None:
    assert all_moves(State("running", 1)) == {
        ("succeeded", 1), ("failed", 1), ("stopping", 1), ("queued", 2),
    }  # fmt: skip
    for ended in ("stopped", "failed", "succeeded"):
        assert all_moves(State(ended, 1)) == {("queued", 2)}
