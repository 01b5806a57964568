"""The supervisor of a stack: children that cannot be started again now are started later."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_stack import wait_until

from local_stack.errors import ChildFailedError
from local_stack.supervisor import FIRST_DELAY_SECONDS, Service, Supervisor


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, reports: list[str]) -> Iterator[Supervisor]:
    (tmp_path / "logs").mkdir()
    inherited = os.open(os.devnull, os.O_RDONLY)
    supervisor = Supervisor(tmp_path / "logs", inherited, reports.append)
    yield supervisor
    supervisor.kill_all()
    os.close(inherited)


def test_a_child_whose_log_cannot_be_opened_is_tried_again_and_reported_once(
    tmp_path: Path, supervisor: Supervisor, reports: list[str]
) -> None:
    def revived(wanted: str) -> bool:
        supervisor.revive()
        return supervisor.log_path("worker").read_text().split()[-1:] == [wanted]

    def failed() -> list[str]:
        supervisor.revive()
        return [line for line in reports if "cannot be started" in line]

    count = f"cd {tmp_path}; echo one >>count; wc -l <count; sleep 0.2"
    supervisor.start(Service("worker", ["sh", "-c", count], os.environ, 0, 1))
    wait_until(lambda: revived("1"), "the first start")
    # What a full disk does: the log cannot be opened.
    (tmp_path / "logs").rename(tmp_path / "away")
    wait_until(failed, "a start that fails")
    tried_until = time.monotonic() + 4 * FIRST_DELAY_SECONDS
    wait_until(lambda: failed() and time.monotonic() > tried_until, "more tries")
    assert failed() == [
        "worker cannot be started: [Errno 2] No such file or directory: "
        f"'{tmp_path}/logs/worker.log'; it is tried again until it can, at least every 10 s"
    ]
    (tmp_path / "away").rename(tmp_path / "logs")
    wait_until(lambda: not revived("1"), "a start again")


def test_who_has_worked_for_longer_than_the_pause_starts_again_at_once_however_often(
    supervisor: Supervisor,
) -> None:
    supervisor.start(Service("worker", ["sleep", "600"], os.environ, 0, 1))
    child = supervisor._children["worker"]
    for _ in range(5):
        child.started -= 5.0
        child.process.kill()
        child.process.wait()
        supervisor.revive()
        assert child.process.poll() is None


def test_the_first_death_costs_no_pause_and_a_quick_second_one_does(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine needs for both deaths.
    monkeypatch.setattr("local_stack.supervisor.FIRST_DELAY_SECONDS", 2.0)
    supervisor.start(Service("worker", ["sleep", "600"], os.environ, 0, 1))

    def killed() -> int:
        child = supervisor._children["worker"].process
        child.kill()
        child.wait()
        supervisor.revive()
        return child.pid

    first = killed()
    assert supervisor._children["worker"].process.pid != first
    second = killed()
    assert supervisor._children["worker"].process.pid == second

    def revived() -> bool:
        supervisor.revive()
        return supervisor._children["worker"].process.pid != second

    wait_until(revived, "a start again")


@pytest.mark.parametrize(
    ("printed", "added"),
    [
        ("why", ""),
        (
            "worker: error: --lease-seconds: too short",
            "\n`up` takes what a service takes as --some-flag from the variable "
            "TRAINING_ENGINE_SOME_FLAG",
        ),
    ],
)
def test_a_child_that_ends_is_told_of_by_what_it_printed_itself(
    supervisor: Supervisor, printed: str, added: str
) -> None:
    log = supervisor.log_path("worker")
    log.write_text("what another process printed\n")
    supervisor.start(Service("worker", ["sh", "-c", f"echo '{printed}'; exit 3"], os.environ, 0, 1))

    def told() -> str:
        try:
            supervisor.check_alive("worker")
        except ChildFailedError as error:
            return str(error)
        return ""

    wait_until(told, "its end")
    assert told() == (
        "worker ended with code 3 before it was ready; its last lines of output, from "
        f"{log}:\n  {printed}{added}"
    )
