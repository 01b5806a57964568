"""Ports for test servers that stay theirs while a server is down and started again.

The kernel gives outgoing connections the ports of its ephemeral range, and `bind` to port 0 gives
one of them too. A server that is killed there may find its port taken when it comes back: by a
connection of any process, even by a client that retries it, which meets itself. So ports are taken
from below that range, and a lock file keeps each to one process of tests.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

_LOWEST, _HIGHEST = 10_000, 65_536
_LEAST_CHOICE = 1000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOCKS = Path(tempfile.gettempdir()) / f"training-engine-test-ports-{os.getuid()}"

_choose = random.Random()  # of its own: a test that seeds the shared one must not repeat ports
_held: list[int] = []
"""Descriptors kept open, and so locked, until this process ends."""


def free_port() -> int:
    """A loopback port that nobody listens on, and that nobody but this process will be given."""
    ports = _quiet_ports()
    while True:
        port = _choose.choice(ports)
        if _lock(port) and _can_bind(port):
            return port


def _quiet_ports() -> range:
    """The larger of the ranges beside the ephemeral one; all ports where there is none."""
    try:
        low, high = map(int, _RANGE.read_text().split())
    except (OSError, ValueError):
        return range(_LOWEST, _HIGHEST)
    beside = max(range(_LOWEST, low), range(high + 1, _HIGHEST), key=len)
    return beside if len(beside) >= _LEAST_CHOICE else range(_LOWEST, _HIGHEST)


def _lock(port: int) -> bool:
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    _held.append(lock)
    return True


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what is left of connections that ended is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
