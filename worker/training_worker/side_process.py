"""A process that a worker forks and keeps beside itself."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

logger = logging.getLogger(__name__)

_RESTART_SECONDS = 2.0


class SideProcess:
    """Forks the process, and another one when it has ended.

    Args:
        name: for the log.
        run: what the process does; gets the worker's process id.
    """

    def __init__(self, name: str, run: Callable[[int], object]) -> None:
        self._name, self._run = name, run
        self._pid = 0
        self._started_at = -_RESTART_SECONDS

    def ensure(self) -> None:
        """Start the process if it does not run; cheap enough for every heartbeat."""
        if self._pid:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if not ended:
                return
            self._pid = 0
            code = os.waitstatus_to_exitcode(status)
            logger.warning("the %s process ended with code %d; starting another", self._name, code)
        if time.monotonic() - self._started_at >= _RESTART_SECONDS:
            self._started_at = time.monotonic()
            worker = os.getpid()
            self._pid = os.fork()
            if self._pid == 0:
                self._run_and_exit(worker)

    def end(self) -> None:
        """Kill the process."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _run_and_exit(self, worker: int) -> NoReturn:
        """Run the process; never return into the worker's code."""
        try:
            os.setpgrp()  # Ctrl-C in a terminal is for the worker
            self._run(worker)
        except BaseException:
            logger.exception("the %s process fails", self._name)
        finally:
            os._exit(1)
