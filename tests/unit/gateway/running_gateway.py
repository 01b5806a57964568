"""A real gateway in the event loop of a test, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from gateway.__main__ import GatewayServer, build_server, listen
from gateway.settings import GatewaySettings

DEADLINE_SECONDS = 60.0
"""Only a gateway that hangs takes so long, on however busy a machine."""


@contextlib.asynccontextmanager
async def gateway_for(control_plane_port: int, **settings: Any) -> AsyncIterator[str]:
    """A gateway of real uvicorn on a free port; yields its URL."""
    given = GatewaySettings(
        control_plane_address=f"127.0.0.1:{control_plane_port}",
        port=0,
        shutdown_seconds=2,
        **settings,
    )
    server = build_server(given)
    listener = listen(given.host, 0)
    # The parts of serve() without its signal handlers and its 0.1 s tick.
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await _clients_gone(server)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await server.shutdown(sockets=[listener])


async def _clients_gone(server: GatewayServer) -> None:
    """Let the server hear that closed clients left: its shutdown looks for them every 0.1 s."""
    for _ in range(10):
        if not server.server_state.connections:
            return
        await asyncio.sleep(0.002)


def client_for(url: str) -> httpx.AsyncClient:
    # Without verify=False, reading the certificates would take most of a test's time.
    return httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS, verify=False)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; fail after a deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)
