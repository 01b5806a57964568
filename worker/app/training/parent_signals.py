"""A process that works for its parent: it ends with it, and SIGTERM counts only from the parent.

SIGTERM, SIGINT and SIGHUP often reach all processes of a run at once: Ctrl-C or a hang-up of the
terminal, systemd's default, many batch systems. The parent then saves, and needs its other
processes until it has.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_SUPPORTED = sys.platform == "linux"
"""Other systems cannot say which process sent a signal; signals keep their usual effect there."""


def end_with_parent(parent: int) -> None:
    """Kill this process when `parent` ends; at once where another process is its parent already.

    Linux only; the thread that started this process counts, so that is to be the main one.
    """
    if _SUPPORTED:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def ending_signals_blocked() -> Iterator[None]:
    """Block the three signals here, so that processes started meanwhile begin with them blocked."""
    if not _SUPPORTED:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit() -> None:
    os._exit(128 + signal.SIGTERM)


def ignore_signals_except_from_parent(on_terminate: Callable[[], object] = _exit) -> None:
    """Ignore all three, except a SIGTERM of the parent, which calls `on_terminate`.

    `on_terminate` runs in a thread of its own; by default it ends this process at once. Call this
    before the process starts any thread: a thread that was there before would still take the
    signals.
    """
    if not _SUPPORTED:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def wait() -> None:
        while True:
            received = signal.sigwaitinfo(_ENDING)
            if received.si_signo == signal.SIGTERM and received.si_pid == os.getppid():
                on_terminate()

    threading.Thread(target=wait, name="parent-signals", daemon=True).start()
