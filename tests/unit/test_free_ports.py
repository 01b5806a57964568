"""Test servers: their ports are nobody else's while they are down, and they start each time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import free_ports
import pytest
from free_ports import free_port
from redis_server import RedisServer


def test_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    if low - 10_000 >= 1000 or 65_535 - high >= 1000:
        assert not [port for port in ports if low <= port <= high]


def test_a_port_is_given_to_one_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = free_port()
    code = (
        "import free_ports\n"
        f"free_ports._quiet_ports = lambda: [{mine}]\n"
        f"print(free_ports._lock({mine}))\n"
    )
    folder = str(Path(free_ports.__file__).parent)
    other = [sys.executable, "-c", code]
    said = subprocess.run(other, capture_output=True, text=True, cwd=folder, check=True)
    assert said.stdout == "False\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        used = int(taken.getsockname()[1])
        ports = [used, mine]  # one is bound, one is locked
        assert not free_ports._lock(mine)
        assert not free_ports._can_bind(used)
        untouched = free_port()
        monkeypatch.setattr(
            free_ports, "_quiet_ports", lambda: [*ports, *range(untouched, untouched + 50)]
        )
        assert free_port() not in ports


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = RedisServer(tmp_path, int(taken.getsockname()[1]))
        with pytest.raises(
            AssertionError, match=r"(?s)does not answer on port .*Address already in use"
        ):
            server.start()
    server.start()
    server.stop()


def test_a_server_is_started_without_a_fork(tmp_path: Path) -> None:
    """Beside gRPC's threads one forked child in twenty aborts before it becomes the server."""
    aborting = [True]
    os.register_at_fork(after_in_child=lambda: os.abort() if aborting else None)
    try:
        RedisServer(tmp_path).start().stop()
    finally:
        aborting.clear()
