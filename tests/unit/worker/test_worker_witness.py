"""The process that sees a worker's death; the worker here is a script without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis_server import RedisServer

from job_store.connection import Connection
from job_store.ids import new_id
from job_store.records import FencingToken, WorkerRecord, WorkerState
from job_store.workers import WorkerRegistry
from training_worker.witness import ClaimPage

WORKER = """
import os, sys, time
from job_store.records import FencingToken
from training_worker.witness import Witness, process_of_stack

witness = Witness(os.environ["REDIS"], process_of_stack())
witness.ensure()
witness.page.name_worker(f"worker-{os.getpid()}")
if sys.argv[1:]:
    witness.page.hold(FencingToken(sys.argv[1], 3, "claim"))
    if os.fork() == 0:
        os.setpgrp()
        witness.page.name_trainer()
        if os.fork():  # the other one loads data, as it were
            print("ready", flush=True)
        time.sleep(600)
else:
    print("ready", flush=True)
for line in sys.stdin:
    witness.ensure()
    print("done", flush=True)
witness.page.release()
"""
STACK = """
import signal, subprocess, sys, time
from service_runtime.process import tie_to_parent

command = [sys.executable, "-P", "-c", *sys.argv[1:]]
subprocess.Popen(command, preexec_fn=lambda: tie_to_parent(signal.SIGKILL))
time.sleep(600)
"""


class Worker:
    """The script, which holds a claim if `job_id` is given; `command` runs it."""

    def __init__(self, url: str, job_id: str = "", command: tuple[str, ...] = (WORKER,)) -> None:
        self.job_id = job_id
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", *command, *([job_id] if job_id else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "REDIS": url},
        )
        assert self._read() == b"ready\n"
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def witness(self) -> psutil.Process:
        """The process, as its worker's first child."""
        return self.children[0]

    def beat(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"heartbeat\n")
        self.process.stdin.flush()
        assert self._read() == b"done\n"

    def kill(self) -> None:
        with self.process:  # closes the pipes, whose end would end a worker in order
            self.process.kill()
            self.process.wait()

    def _read(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return redis_server.url(902)


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    with ExitStack() as stack:

        def begin(*arguments: Any, **named: Any) -> Worker:
            worker = Worker(*arguments, **named)
            stack.callback(worker.kill)
            return worker

        yield begin


def notices(url: str, worker: Worker) -> list[tuple[bytes, bytes]]:
    """What the reconciler is told of the worker's job: attempt and claim."""
    with redis.Redis.from_url(url) as client:
        entries: Any = client.xrange("te:notices")
    job = worker.job_id.encode()
    return [(entry[b"attempt"], entry[b"claim"]) for _, entry in entries if entry[b"job"] == job]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_killed_worker_is_reported_once_its_trainer_is_gone(
    url: str, start: Callable[..., Worker]
) -> None:
    worker = start(url, new_id("job"))
    assert len(worker.children) == 3
    worker.kill()
    wait_for(lambda: notices(url, worker))
    assert gone(worker.children[1:])
    assert notices(url, worker) == [(b"3", b"claim")]
    wait_for(lambda: gone([worker.witness]))


def test_a_frozen_worker_is_not_reported_and_signals_are_left_to_it(
    url: str, start: Callable[..., Worker]
) -> None:
    worker = start(url, new_id("job"))
    worker.process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        worker.witness.send_signal(number)
    with pytest.raises(psutil.TimeoutExpired):
        worker.witness.wait(1.0)
    assert not notices(url, worker)


def test_a_worker_that_ends_without_a_claim_leaves_the_list_and_is_not_reported(
    url: str, start: Callable[..., Worker]
) -> None:
    idle, done = start(url), start(url, new_id("job"))
    name = f"worker-{idle.process.pid}"
    with closing(Connection.open(url)) as connection:
        record = WorkerRecord(name, WorkerState.IDLE, "cpu", "host", 1, 0, 0, "", 0)
        WorkerRegistry(connection).heartbeat(record)
    with redis.Redis.from_url(url) as client:
        assert client.zscore("te:workers", name)
        idle.kill()
        wait_for(lambda: client.zscore("te:workers", name) is None)
    assert done.process.stdin is not None
    done.process.stdin.close()  # which ends it
    done.process.wait(timeout=20)
    wait_for(lambda: gone([idle.witness, done.witness]))
    assert not notices(url, done)
    done.children[1].kill()
    done.children[2].kill()


def test_a_killed_witness_is_replaced_and_the_next_one_reports(
    url: str, start: Callable[..., Worker]
) -> None:
    worker = start(url, new_id("job"))
    worker.witness.kill()

    def replaced() -> bool:
        worker.beat()
        children = psutil.Process(worker.process.pid).children()
        return not set(children) <= set(worker.children)

    wait_for(replaced)
    worker.kill()
    wait_for(lambda: notices(url, worker))


def test_a_report_waits_for_a_server_that_is_away(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    server = RedisServer(tmp_path / "redis").start()
    try:
        worker = start(server.url(), new_id("job"))
        server.kill()
        worker.kill()
        wait_for(lambda: gone(worker.children[1:]))
        server.start()
        wait_for(lambda: notices(server.url(), worker))
    finally:
        server.stop()


def test_no_witness_outlives_the_stack_that_is_killed_with_its_server(
    start: Callable[..., Worker],
) -> None:
    away = "redis://127.0.0.1:1/0"
    stack = start(away, new_id("job"), command=(STACK, WORKER))
    assert len(stack.children) == 4
    stack.kill()
    wait_for(lambda: gone(stack.children))


def test_a_claim_that_is_half_written_is_not_there() -> None:
    page, token = ClaimPage(), FencingToken(new_id("job"), 12, "0123456789abcdef")
    assert page.read() == (None, 0)
    page.hold(token)
    assert page.read() == (token, 0)
    page.name_trainer()
    assert page.read() == (token, os.getpid())
    page.release()
    assert page.read() == (None, 0)
