"""A gateway before a control plane in memory, each on a real socket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx
import memory_control_plane
import pytest
from memory_state import State
from running_gateway import client_for, gateway_for


@pytest.fixture
async def state() -> State:
    return State()


@pytest.fixture
async def control_plane_port(state: State) -> AsyncIterator[int]:
    async with memory_control_plane.serving(state) as port:
        yield port


@pytest.fixture
async def url(control_plane_port: int) -> AsyncIterator[str]:
    async with gateway_for(control_plane_port, max_body_bytes=64 << 10, ping_seconds=0.2) as found:
        yield found


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(url) as made:
        yield made


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
