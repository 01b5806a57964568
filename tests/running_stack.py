"""A real stack for tests: `training-engine up` as a person would start it, on free ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
UP = [sys.executable, "-P", "-m", "training_engine", "up", "--no-browser"]


@dataclass
class RunningStack:
    """A stack that is up."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: str
    url: str

    def descendants(self) -> list[psutil.Process]:
        """Every process of the stack but `up` itself."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def terminate_all(self) -> int:
        """SIGTERM to every process, as systemd does, the server first; returns the exit code."""
        children = sorted(self.descendants(), key=lambda child: "server" not in child.name())
        for process in (*children, self.process):
            process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL to `up` alone."""
        self.process.kill()
        self.process.wait(timeout=10)


def run_up(
    *arguments: str, cwd: Path, timeout: float = 60, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs an `up` that is expected to end by itself."""
    return subprocess.run(
        [*UP, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean_environment() | dict(environment or {}),
    )


@contextmanager
def running_stack(
    data_dir: Path,
    *arguments: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningStack]:
    """Starts a stack, waits until it says that it is ready, and stops it with Ctrl-C."""
    errors = data_dir.with_suffix(".stderr")
    with errors.open("a") as stderr:
        process = subprocess.Popen(
            [*UP, "--grpc-port=0", "--http-port=0", f"--data-dir={data_dir}", *arguments],
            cwd=cwd or data_dir.parent,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=clean_environment() | dict(environment or {}),
        )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        address = re.search(r"gRPC\s+(\S+)", said)
        url = re.search(r"dashboard\s+(\S+)/", said)
        assert address, f"up did not get ready: {said}{errors.read_text()}"
        assert url
        yield RunningStack(process, data_dir, address[1], url[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        process.stdout.close()


def clean_environment() -> dict[str, str]:
    """This environment without settings of our own that a developer may have exported.

    Threads of a trainer sleep at their barriers: where other programs share the cores, threads
    that spin there make the steps of a tiny model a hundred times slower.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith("TRAINING_ENGINE_")}
    return {"OMP_WAIT_POLICY": "PASSIVE", **own}


def wait_until(condition: Callable[[], T], what: str, timeout: float = 60) -> T:
    """Returns the condition's first true value; fails, naming `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.02)
