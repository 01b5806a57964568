"""A Redis server that comes back without the last of what it had answered.

That is what a power cut does to an append-only file that is synced every second, and what a
failover does to what the replica had not received. Here the server is killed and its file is set
back to an earlier copy.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis_server import RedisServer
from test_worker_outage import END
from training_site import Site, comparable

from artifact_store import attempt_prefix
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.durability import DiskWatch
from job_store.errors import StoreUnavailableError
from job_store.ids import new_id
from job_store.records import CheckpointRecord, Claimed, JobStatus, Outcome, OutcomeKind
from job_store.workers import WorkerRegistry
from training_worker.attempt import Attempt, Stores
from training_worker.board import Board
from training_worker.publisher import StartReport
from training_worker.set_up import attempt_folder
from training_worker.settings import WorkerSettings
from training_worker.stop_request import StopRequest

RUN = {"max_steps": 400, "save_steps": 40, "eval_steps": 1000, "logging_steps": 1}


class Memory:
    """What the server knows now, to be brought back later."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._files = server.folder / "appendonlydir"
        self._copy = server.folder / "copy"
        with redis.Redis.from_url(server.url()) as client:
            client.set("before the copy", 1)
            client.execute_command("WAITAOF", 1, 0, 10_000)  # answers may be ahead of the file
        server.pause()
        shutil.copytree(self._files, self._copy)
        server.resume()

    def restore(self) -> None:
        """Kill the server and start it with what it knew then."""
        self._server.kill()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self._server.start()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The trainer does nothing meanwhile: it cannot see that the server was away."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def place(own_server: RedisServer, tmp_path: Path) -> Iterator[Site]:
    made = Site(own_server.url(), tmp_path)
    yield made
    made.close()


def undisturbed(site: Site) -> list[tuple[Any, ...]]:
    job_id = site.submit(**RUN)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    return comparable(site.history(job_id))


def lose_some(
    site: Site, server: RedisServer, job_id: str, worker: subprocess.Popen[bytes]
) -> None:
    """Of some 60 steps and at least one checkpoint the server knows nothing any more."""
    site.wait_for(lambda: len(site.store.checkpoints(job_id)) >= 2)
    memory, known = Memory(server), site.job(job_id).current_step
    site.wait_for(lambda: site.job(job_id).current_step >= known + 60)
    with frozen(site.horse(worker)):
        memory.restore()
        assert site.job(job_id).current_step < known + 60


def test_a_trainer_delivers_again_what_the_server_forgot(
    place: Site, own_server: RedisServer
) -> None:
    worker = place.start_worker()
    expected = undisturbed(place)
    job_id = place.submit(**RUN)
    lose_some(place, own_server, job_id, worker)
    done = place.wait(job_id, *END)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 1), place.logs()
    assert comparable(place.history(job_id)) == expected
    steps = [record.step for record in place.store.checkpoints(job_id)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    for record in place.store.checkpoints(job_id):
        assert (place.artifacts / record.artifact).exists(), record.step


def test_the_next_attempt_delivers_what_server_and_trainer_lost(
    place: Site, own_server: RedisServer
) -> None:
    worker = place.start_worker()
    expected = undisturbed(place)
    job_id = place.submit(**RUN)
    place.wait_for(lambda: len(place.store.checkpoints(job_id)) >= 2)
    memory, horse = Memory(own_server), place.horse(worker)
    place.wait_for(lambda: spooled_steps_of(place, job_id) >= 200)
    os.kill(horse, signal.SIGSTOP)
    memory.restore()
    os.kill(horse, signal.SIGKILL)
    place.wait_for(lambda: place.job(job_id).status is JobStatus.QUEUED)
    place.send(job_id)
    done = place.wait(job_id, *END)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2), place.logs()
    assert comparable(place.history(job_id)) == expected


def spooled_steps_of(site: Site, job_id: str) -> int:
    return max(
        (
            int(path.read_bytes().splitlines()[-1][1:].split(b",")[0])
            for path in (site.artifacts / "jobs" / job_id).rglob("metrics.spool")
            if path.stat().st_size
        ),
        default=0,
    )


class Writer(Attempt):
    """An attempt without a trainer: the test says what was measured and saved."""

    def __init__(self, site: Site, claimed: Claimed) -> None:
        steady = Connection.open(site.url, retries=0)
        publishing = Connection.open(site.url, retries=0, announce_renewal=True)
        watched = Connection.open(site.url, retries=0, announce_renewal=True)
        stores = Stores(
            AttemptStore(steady),
            AttemptStore(publishing),
            DiskWatch(watched),
            WorkerRegistry(steady),
            site.store_of_artifacts(),
        )
        board = Board()
        attempt_folder(stores.artifacts, claimed)
        super().__init__(claimed, stores, WorkerSettings(), board, StopRequest(), fail)
        self._to_close = (self._spool, self._points, board, steady, publishing, watched)
        self.site, self.claimed = site, claimed
        self._publisher.start()

    def begin(self, step: int) -> None:
        self._publisher.begin(StartReport(step))

    def measure(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            self.on_metrics(step, {"loss": 1 / step})

    def save(self, step: int) -> None:
        record = checkpoint(self.claimed, step)
        (self.site.artifacts / record.artifact).write_bytes(b"x")
        self._publisher.register(record)

    def drain(self) -> None:
        self._publisher.drain()

    def finish(self, kind: OutcomeKind) -> None:
        self._finish(Outcome(kind))

    def close(self) -> None:
        """Give up everything."""
        self.drain()
        for each in self._to_close:
            each.close()

    def shown(self) -> list[int]:
        return [step for step, _ in self.site.history(self.claimed.token.job_id)]


Begin = Callable[[str], Writer]


@pytest.fixture
def begin(place: Site) -> Iterator[Begin]:
    """Claims the current attempt of a job."""
    writers: list[Writer] = []

    def make(job_id: str) -> Writer:
        writers.append(Writer(place, claim(place, job_id)))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


def fail(error: Exception) -> None:
    raise AssertionError("no other attempt has taken over") from error


def checkpoint(claimed: Claimed, step: int) -> CheckpointRecord:
    token = claimed.token
    key = f"{attempt_prefix(token.job_id, token.attempt, token.claim_id)}/{step}.pt"
    return CheckpointRecord(
        new_id("checkpoint"), token.job_id, token.attempt, step, 1.0, 1, "ab", key, 0
    )


def claim(site: Site, job_id: str) -> Claimed:
    claimed = site.store.claim(job_id, site.job(job_id).attempt, "worker-1")
    assert claimed is not None
    return claimed


def test_what_was_completed_for_a_dead_attempt_is_completed_again(
    place: Site, own_server: RedisServer, begin: Begin
) -> None:
    first = begin(place.submit())
    first.begin(0)
    first.measure(1, 6)
    first.drain()
    first.measure(7, 10)  # in the spool alone
    place.store.register_checkpoint(first.claimed.token, checkpoint(first.claimed, 10))
    first.finish(OutcomeKind.CRASHED)
    job_id = first.claimed.token.job_id
    second = begin(job_id)
    memory = Memory(own_server)
    second.begin(10)
    place.wait_for(lambda: second.shown() == list(range(1, 11)))
    memory.restore()
    second.measure(11, 12)
    second.drain()
    assert second.shown() == list(range(1, 13))


def test_a_completed_last_line_that_was_lost_comes_from_its_author(
    place: Site, own_server: RedisServer, begin: Begin
) -> None:
    """Attempt 1 was stopped in the validation after step 10; attempt 2 completed that line."""
    first = begin(place.submit())
    first.begin(0)
    first.measure(1, 9)
    first.save(10)
    first.drain()
    first.finish(OutcomeKind.HANDED_BACK)
    job_id = first.claimed.token.job_id
    second = begin(job_id)
    memory = Memory(own_server)
    second.begin(10)
    second.on_metrics(10, {"loss": 0.1, "val_loss": 2.0})
    place.wait_for(lambda: second.shown() == list(range(1, 11)))
    second.drain()
    memory.restore()
    assert second.shown() == list(range(1, 10))
    second.finish(OutcomeKind.CRASHED)
    third = begin(job_id)
    third.begin(10)
    third.measure(11, 13)
    third.drain()
    assert third.shown() == list(range(1, 14))
    assert place.history(job_id)[9] == (10, {"loss": 0.1, "val_loss": 2.0})
    assert [record.points for record in place.store.attempts(job_id)] == [10, 0, 3]


def test_a_job_ends_with_its_last_points_and_checkpoint(
    place: Site, own_server: RedisServer, begin: Begin
) -> None:
    """They were answered, and forgotten before the end of the job was reported."""
    only = begin(place.submit())
    only.begin(0)
    only.measure(1, 5)
    place.wait_for(lambda: only.shown() == list(range(1, 6)))
    memory = Memory(own_server)
    only.measure(6, 9)
    only.save(9)
    only.drain()
    job_id = only.claimed.token.job_id
    assert [record.step for record in place.store.checkpoints(job_id)] == [9]
    memory.restore()
    assert place.store.checkpoints(job_id) == []
    only.finish(OutcomeKind.SUCCEEDED)
    assert place.job(job_id).status is JobStatus.SUCCEEDED
    assert only.shown() == list(range(1, 10))
    assert [record.step for record in place.store.checkpoints(job_id)] == [9]


def test_a_retired_checkpoint_is_not_taken_for_a_lost_one(place: Site, begin: Begin) -> None:
    """Its retirement was carried out, and the answer never came."""
    only = begin(place.submit())
    only.begin(0)
    only.measure(1, 9)
    only.save(3)
    only.save(9)
    only.drain()
    token = only.claimed.token
    old, _ = place.store.checkpoints(token.job_id)
    assert place.store.unregister_checkpoint(token, old.checkpoint_id)
    (place.artifacts / old.artifact).unlink()
    place.store.forget_checkpoint(token.job_id, old.checkpoint_id)
    only._publisher.deliver_again()
    assert [record.step for record in place.store.checkpoints(token.job_id)] == [9]


def test_files_of_a_retired_checkpoint_stay_until_the_server_cannot_forget(
    place: Site, own_server: RedisServer, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = begin(place.submit(max_checkpoints_to_keep=1))
    only.begin(0)
    only.measure(1, 9)
    only.save(3)
    place.wait_for(lambda: len(place.store.checkpoints(only.claimed.token.job_id)) == 1)
    memory, token = Memory(own_server), only.claimed.token
    (old,) = place.store.checkpoints(token.job_id)
    only.save(9)
    place.wait_for(lambda: [one.step for one in place.store.checkpoints(token.job_id)] == [9])
    memory.restore()
    assert place.store.checkpoints(token.job_id)[0].checkpoint_id == old.checkpoint_id
    assert (place.artifacts / old.artifact).exists()
    place.wait_for(lambda: [one.step for one in place.store.checkpoints(token.job_id)] == [9])
    monkeypatch.setattr(DiskWatch, "is_settled", lambda watch: watch.is_written())
    only.measure(10, 10)
    place.wait_for(lambda: not (place.artifacts / old.artifact).exists())
    assert [one.step for one in place.store.checkpoints(token.job_id)] == [9]


def test_a_renewed_connection_is_announced_once(own_server: RedisServer) -> None:
    db = Connection.open(own_server.url(), retries=0, announce_renewal=True)
    silent = Connection.open(own_server.url(), retries=0)
    assert db.command("PING") == silent.command("PING")
    own_server.kill()
    own_server.start()
    silent.command("PING")  # it never noticed
    with pytest.raises(
        StoreUnavailableError, match="the connection was renewed; try again shortly"
    ):
        db.command("SET", "x", "1")
    assert db.command("EXISTS", "x") == 0
    assert db.command("SET", "x", "1")
    db.close()
    silent.close()
