"""The checker of histories: what it must refuse, and what it must accept."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from history import main, problems, read
from job_model import Answer, Operation, State, all_moves
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
    """Twelve clients stop, resume and read at once; the answers fit one order of very many."""
    choose, status, attempt, calls = random.Random(5), "queued", 1, []
    for number in range(12):
        call = "resume" if status == "stopped" else choose.choice(["stop", "get"])
        status = {"resume": "queued", "stop": "stopped"}.get(call, status)
        attempt += call == "resume"
        answer = Answer("ok", status, attempt)
        calls.append(Operation(call, 1 + number / 100, 2, answer, request=f"r{number}"))
    choose.shuffle(calls)
    start = Operation("start", 0, 0.5, Answer("ok", "queued", 1), request="start")
    assert check([start, *calls])
    never = Operation("get", 3, 3.1, Answer("ok", "queued", attempt + 2))
    assert not check([start, *calls, never])


def test_the_model_is_the_table_of_states() -> None:
    assert all_moves(State("queued", 1)) == {("running", 1), ("failed", 1), ("stopped", 1)}
    assert all_moves(State("running", 1)) == {
        ("succeeded", 1), ("failed", 1), ("stopping", 1), ("queued", 2),
    }  # fmt: skip
    assert all_moves(State("stopping", 1)) == {
        ("stopping", 1), ("stopped", 1), ("succeeded", 1), ("failed", 1),
    }  # fmt: skip
    for ended in ("stopped", "failed", "succeeded"):
        assert all_moves(State(ended, 1)) == {("queued", 2)}
