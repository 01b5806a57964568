"""How a process of the engine begins and ends: tied to its parent, stopped by a signal."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

_LIBC = ctypes.CDLL(None, use_errno=True)
"""Loaded here, since a forked child must not load libraries."""
_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2


def tie_to_parent(death_signal: signal.Signals = signal.SIGTERM, parent: int | None = None) -> None:
    """Ask the kernel for `death_signal` when the parent process dies (Linux; elsewhere nothing).

    The kernel watches the *thread* that forked this process, so a parent must start its children
    from a thread that lives as long as itself.

    Args:
        death_signal: What this process gets.
        parent: The parent's id, where it is known from before the fork: a parent that has died
            since then counts too.
    """
    if sys.platform != "linux":
        return
    parent = parent or os.getppid()
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(code)}")
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), death_signal)


def dies_with_parent() -> bool:
    """Whether the kernel kills this process when its parent dies."""
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        _LIBC.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value == signal.SIGKILL


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that SIGTERM or SIGINT sets.

    A second signal ends at once.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stopping


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def fail(program: str, reason: str) -> int:
    """Print why a process cannot start, in one line, and return its exit code, 1."""
    print(f"{program}: error: {reason}", file=sys.stderr)
    return 1
