"""A worker's supervisor gives a trainer all of its time, whatever happens to clocks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from redis_server import RedisServer
from training_site import Site

from artifact_store import FolderStore, GuardedStore
from job_store.codec import encode_error
from job_store.records import Execution, JobError, Outcome, OutcomeKind, Signals
from training_worker.board import Board
from training_worker.supervisor import Kill, Supervisor


@pytest.fixture
def supervisor(own_server: RedisServer, tmp_path: Path) -> Supervisor:
    site = Site(own_server.url(), tmp_path)
    execution = Execution(stop_timeout_seconds=5.0, stall_timeout_seconds=20.0)
    claimed = site.store.claim(site.submit(execution), 1, "worker-1")
    assert claimed is not None
    site.close()
    artifacts = GuardedStore(FolderStore(site.artifacts))
    return Supervisor(
        claimed,
        site.store,
        Board(),
        tmp_path,
        artifacts,
        renewal_seconds=1e6,
        heartbeat=lambda: None,
    )


def watch(supervisor: Supervisor, seconds: float) -> Kill | None:
    """What the supervisor does once it has looked ten times a second for so long."""
    supervisor._next_renewal = float("inf")
    start = supervisor._ticked_at
    for tick in range(1, round(seconds * 10) + 1):
        supervisor._tick(start + tick / 10)
    return supervisor._killed


def test_a_stop_has_its_whole_time_from_when_the_worker_hears_of_it(
    supervisor: Supervisor,
) -> None:
    watch(supervisor, 3.0)
    supervisor._forward_stop(Signals(True))
    assert watch(supervisor, 3.5) is None
    supervisor._forward_stop(Signals(True))  # each renewal says so again
    supervisor._tick(supervisor._ticked_at + 3600.0)  # the machine slept
    assert supervisor._killed is None
    assert watch(supervisor, 1.0) is Kill.STOP_TIMEOUT


def test_a_trainer_that_has_reported_its_end_may_close_what_it_has_open(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no loser of its job: nobody else has that."""
    store, token = supervisor._store, supervisor._claimed.token
    store.finish(token, Outcome(OutcomeKind.SUCCEEDED))
    assert supervisor._renew()
    assert (supervisor._killed, caplog.text) == (None, "")
    assert watch(supervisor, 15.0) is None
    supervisor._board.pulse()
    supervisor._deadlines.closing_watched = supervisor._watched
    assert watch(supervisor, 0.2) is Kill.LINGERED


def test_a_trainer_whose_attempt_was_declared_lost_is_ended(supervisor: Supervisor) -> None:
    store, token = supervisor._store, supervisor._claimed.token
    gone = encode_error(JobError("WORKER_LOST", "gone"))
    store._db.run("declare_lost", token.job_id, token.attempt, token.claim_id, gone, "gone", "", "")
    assert supervisor._renew()
    assert supervisor._killed is Kill.FENCED


def test_a_sleep_of_the_machine_is_no_stall(supervisor: Supervisor) -> None:
    assert watch(supervisor, 15.0) is None
    supervisor._tick(supervisor._ticked_at + 3600.0)
    assert supervisor._killed is None
    assert watch(supervisor, 5.0) is Kill.STALLED


def test_each_text_has_the_whole_time_for_its_tokenizer(supervisor: Supervisor) -> None:
    supervisor._board.show_encoding("line 1 of 'a.txt'")
    assert watch(supervisor, 15.0) is None
    supervisor._board.show_encoding("")
    supervisor._board.show_encoding("line 1 of 'a.txt'")  # the next piece of it
    assert watch(supervisor, 19.0) is None
    assert watch(supervisor, 2.0) is Kill.STALLED


def test_the_grace_of_a_leaving_worker_is_counted_by_the_clock(supervisor: Supervisor) -> None:
    """The process that asks it to leave does not wait longer for a machine that slept."""
    supervisor.hand_back(4.0)
    supervisor._next_renewal = float("inf")
    supervisor._tick(time.monotonic() + 2.0)
    assert supervisor._killed is None
    supervisor._tick(time.monotonic() + 60.0)
    assert supervisor._killed is Kill.GRACE
