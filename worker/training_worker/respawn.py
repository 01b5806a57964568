"""Forks the worker from a process that has torch imported, and again when it is killed.

This is `--respawn`. A worker that is started by itself imports for seconds before it takes a job; a
forked one needs none of them. What both have imported is in memory once.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress

from service_runtime.process import tie_to_parent

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_QUICK_SECONDS = 1.0
"""A worker that is killed before it has lived this long is left to the supervisor's pauses."""


def fork_worker() -> int | None:
    """Return None in each worker; in this process, once the last one has ended, its exit code.

    Call it before there are threads. SIGTERM and SIGINT are passed on to the worker, which has the
    handlers that were set before.
    """
    return _Respawner().run()


class _Respawner:
    def __init__(self) -> None:
        self._worker = 0
        self._is_leaving = False
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def run(self) -> int | None:
        while True:
            began = time.monotonic()
            if not self._fork():
                return None
            code = os.waitstatus_to_exitcode(_wait_for(self._worker))
            if code >= 0 or self._is_leaving or time.monotonic() - began < _QUICK_SECONDS:
                return code if code >= 0 else 128 - code
            logger.warning(
                "the worker was killed by %s; another one takes its place",
                signal.Signals(-code).name,
            )

    def _fork(self) -> bool:
        """Return whether this is still the process that forks; both have their handlers then."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        own = os.getpid()
        self._worker = os.fork()
        if self._worker == 0:
            tie_to_parent(signal.SIGKILL, own)
        for number in _SIGNALS:
            signal.signal(number, self._pass_on if self._worker else self._handlers[number])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if self._worker and self._is_leaving:  # the signal came when there was no worker
            self._pass_on(signal.SIGTERM, None)
        return self._worker != 0

    def _pass_on(self, number: int, frame: object) -> None:
        self._is_leaving = True
        with suppress(ProcessLookupError):
            os.kill(self._worker, number)


def _wait_for(worker: int) -> int:
    """Return the worker's wait status; in a container, orphans are waited for as well."""
    while True:
        ended, status = os.wait()
        if ended == worker:
            return status
