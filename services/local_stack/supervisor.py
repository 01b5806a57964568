"""Keeps the services of a stack running, and ends them in order.

Every child is tied to this process by PR_SET_PDEATHSIG: when the supervisor dies, whatever kills
it, the kernel kills the children. A child that dies is started again. The least time between two of
its starts grows with quick deaths: one that has worked for longer than that has no pause. No
supervision library ties children to their parent this way, which is what a laptop's one command
needs most; under Kubernetes the cluster does this work instead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import ChildFailedError
from service_runtime.backoff import pause_seconds
from service_runtime.process import tie_to_parent
from service_runtime.settings import ENV_PREFIX

_VARIABLES = (
    f"\n`up` takes what a service takes as --some-flag from the variable {ENV_PREFIX}SOME_FLAG"
)
"""Follows a refused setting: the service names its flag, which `up` may not have."""

FIRST_DELAY_SECONDS = 0.1
"""Least time from a start to the next after the second quick death in a row."""
LONGEST_DELAY_SECONDS = 10.0
STEADY_AFTER_SECONDS = 30.0
"""Deaths before a child has lived this long are quick ones."""
LOG_LIMIT_BYTES = 16 << 20
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Service:
    """How one child is started and ended."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_order: int
    """Children with a lower number are stopped first: they need those with a higher one."""
    grace_seconds: float
    """Seconds between the request to end and SIGKILL."""
    ask_to_end: Callable[[], None] | None = None
    """Call this to ask the service to end; None: send SIGTERM. Such a service starts with SIGTERM,
    SIGINT and SIGHUP blocked: systemd and batch systems send them to all processes at once, and
    the service must outlive the others."""


@dataclass
class Child:
    """A service that runs, or that died and waits for its restart."""

    service: Service
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    """Quick deaths and failed starts in a row."""
    restart_at: float | None = None
    start_failed: bool = False
    """Whether the last try to start it again failed, which was reported then."""


class Supervisor:
    """Starts services, restarts those that die, stops them all.

    `log_folder` gets one file for each service, `inherited_fd` stays open in all of them, and
    `report` gets one line for every process that dies.
    """

    def __init__(
        self, log_folder: Path, inherited_fd: int, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._log_folder = log_folder
        self._inherited_fd = inherited_fd
        self._report = report
        self._children: dict[str, Child] = {}
        self._log_starts: dict[str, int] = {}

    def start(self, service: Service) -> None:
        """Start a service."""
        with signals_blocked():
            self._children[service.name] = Child(service, self._spawn(service), time.monotonic())

    def log_path(self, name: str) -> Path:
        """Where the service's output goes."""
        return self._log_folder / f"{name}.log"

    def check_alive(self, name: str) -> None:
        """Check that the child of this name runs.

        Raises:
            ChildFailedError: The child has ended; the text has the last lines that it printed.
        """
        process = self._children[name].process
        if process.poll() is None:
            return
        path = self.log_path(name)
        with path.open("rb") as log:
            log.seek(self._log_starts[name])  # earlier lines are of other processes
            lines = log.read().decode(errors="replace").strip().splitlines()
        raise ChildFailedError(
            f"{name} {_describe_end(process.returncode)} before it was ready; "
            f"its last lines of output, from {path}:\n"
            + "\n".join(f"  {line}" for line in lines[-8:])
            + _VARIABLES * any("error: --" in line for line in lines[-8:])
        )

    def revive(self) -> None:
        """Start again what has died and has waited long enough. Call it a few times a second.

        A child that cannot be started now (a full disk, no more processes) is tried again.
        """
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is None and child.process.poll() is not None:
                self._note_death(child, now)
            if child.restart_at is not None and now >= child.restart_at:
                self._start_again(child, now)

    def stop_all(self) -> None:
        """Stop all children in their order; kill those that are not gone after their grace."""
        for order in sorted({child.service.stop_order for child in self._children.values()}):
            group = [c for c in self._children.values() if c.service.stop_order == order]
            for child in group:
                if child.process.poll() is None:
                    (child.service.ask_to_end or child.process.terminate)()
            for child in group:
                self._end(child)
        self._children.clear()

    def kill_all(self) -> None:
        """End all children at once."""
        for child in self._children.values():
            child.process.kill()
            child.process.wait()
        self._children.clear()

    def _end(self, child: Child) -> None:
        try:
            child.process.wait(timeout=child.service.grace_seconds)
        except subprocess.TimeoutExpired:
            self._report(
                f"{child.service.name} did not end within "
                f"{child.service.grace_seconds:g} s and was killed"
            )
            child.process.kill()
            child.process.wait()

    def _note_death(self, child: Child, now: float) -> None:
        if now - child.started > STEADY_AFTER_SECONDS:
            child.failures = 0
        self._delay_start(child, since=child.started)
        self._report(
            f"{child.service.name} {_describe_end(child.process.returncode)}; it starts again "
            f"(log: {self.log_path(child.service.name)})"
        )

    def _start_again(self, child: Child, now: float) -> None:
        try:
            with signals_blocked():
                child.process = self._spawn(child.service)
                child.started, child.restart_at = now, None
            child.start_failed = False
        except (OSError, subprocess.SubprocessError) as error:
            self._delay_start(child, since=now)
            if not child.start_failed:
                child.start_failed = True
                self._report(
                    f"{child.service.name} cannot be started: {error}; it is tried again until it "
                    f"can, at least every {LONGEST_DELAY_SECONDS:g} s"
                )

    def _delay_start(self, child: Child, since: float) -> None:
        quick = child.failures
        child.failures += 1
        pause = pause_seconds(quick, FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS) if quick else 0.0
        child.restart_at = since + pause

    def _spawn(self, service: Service) -> subprocess.Popen[bytes]:
        path = self.log_path(service.name)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        parent = os.getpid()

        def prepare() -> None:
            tie_to_parent(signal.SIGKILL, parent)
            if service.ask_to_end is None:
                restore_signals()

        # A file, not a pipe: a service that prints never has to wait for a reader. A session of
        # its own: Ctrl-C reaches only the supervisor, which then stops the others in order.
        with path.open("ab") as log:
            self._log_starts[service.name] = log.tell()
            return subprocess.Popen(
                service.command,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._inherited_fd,),
                preexec_fn=prepare,
                start_new_session=True,
            )


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that end a stack, so that none arrives between a fork and its record."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def restore_signals() -> None:
    """In a forked child: unblock the signals of `signals_blocked`, with their usual effect."""
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def _describe_end(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with code {returncode}"
