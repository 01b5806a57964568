"""The labels of the state table are beside the code that does what they name."""

from __future__ import annotations

from model.state_table import NO_JOB, UNCHANGED, labels_in, lines_for, state_table

STATES = {"–", "queued", "running", "stopping", "stopped", "failed", "succeeded", "gone"}


def test_the_table_the_scripts_and_the_python_have_the_same_labels() -> None:
    table = {line.label for line in state_table()}
    assert len(table) == len(state_table()) > 20
    assert labels_in("scripts/*.lua") == table
    assert labels_in("*.py") == table


def test_the_table_says_something_about_each_call_in_each_state() -> None:
    """But nothing about calls that name no job: those are answered `not found`."""
    calls = {call for line in state_table() for call in line.calls} - {"start"}
    for state in STATES - set(NO_JOB):
        for call in calls:
            assert lines_for(state, call), f"{call} of a job that is {state}"
    assert {line.then for line in state_table()} <= STATES | set(UNCHANGED)
