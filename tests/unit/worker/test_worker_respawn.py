"""The process that forks workers; the worker here is a script without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SCRIPT = """
import os, signal, sys, time
from training_worker import respawn

def leave(number, frame):
    print("leaves", flush=True)
    time.sleep(0.05)
    sys.exit(7)

signal.signal(signal.SIGTERM, leave)
respawn._QUICK_SECONDS = float(sys.argv[1])
code = respawn.fork_worker()
if code is not None:
    sys.exit(code)
print(os.getpid(), flush=True)
time.sleep(600)
"""


class Forking:
    """The process and what its workers print."""

    def __init__(self, quick_seconds: float = 0.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SCRIPT, str(quick_seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def worker(self) -> int:
        """The process id of the next worker, once it runs."""
        return int(self.line())


@contextmanager
def forking(quick_seconds: float = 0.0) -> Iterator[Forking]:
    """Starts the process, and kills it at the end."""
    one = Forking(quick_seconds)
    with one.process:
        try:
            yield one
        finally:
            one.process.kill()


def test_a_killed_worker_is_replaced_by_another_fork() -> None:
    with forking() as parent:
        first = parent.worker()
        os.kill(first, signal.SIGKILL)
        second = parent.worker()
        assert second != first
        assert psutil.Process(second).ppid() == parent.process.pid
        os.kill(second, signal.SIGSEGV)
        assert parent.worker() not in (first, second)


def test_a_request_to_end_reaches_the_worker_whose_code_is_passed_on() -> None:
    with forking() as parent:
        parent.worker()
        parent.process.terminate()
        assert parent.line() == "leaves"
        assert parent.process.wait(timeout=20) == 7


def test_a_worker_that_is_killed_at_once_is_left_to_the_supervisor() -> None:
    with forking(quick_seconds=600.0) as parent:
        os.kill(parent.worker(), signal.SIGKILL)
        assert parent.process.wait(timeout=20) == 128 + signal.SIGKILL


def test_a_worker_ends_with_the_process_that_forked_it() -> None:
    with forking() as parent:
        worker = psutil.Process(parent.worker())
        parent.process.kill()
        worker.wait(timeout=20)
