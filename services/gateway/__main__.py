"""The gateway as a process: `python -P -m gateway --port 8000`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from gateway.application import create_app
from gateway.connections import bounded
from gateway.settings import GatewaySettings
from service_runtime.logs import configure_logging, get_logger
from service_runtime.process import fail, tie_to_parent
from service_runtime.settings import SettingsError, parse_settings
from service_runtime.tokens import UNGUESSABLE_CHARACTERS, is_guessable

PROGRAM = "gateway"


class GatewayServer(uvicorn.Server):
    """A server that ends its event streams when it shuts down.

    uvicorn waits for open answers first, and an event stream would never end by itself.
    """

    def __init__(self, config: uvicorn.Config, closing: Any) -> None:
        super().__init__(config)
        self._closing = closing

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Exit with 0 after SIGTERM and SIGINT; uvicorn itself would end by the signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


def build_server(settings: GatewaySettings) -> GatewayServer:
    """Return the server, not yet listening."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=bounded(settings.client_timeout_seconds),
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    return GatewayServer(config, app.state.closing)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket.

    Raises:
        SettingsError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"--host/--port: cannot listen on {host}:{port}: {error.strerror or error}; choose "
            "another --port, or 0 for any free one"
        ) from None
    return listener


def warn_of_short_tokens(settings: GatewaySettings) -> None:
    """Warn in the log if a token is short enough to be guessed."""
    short = sum(map(is_guessable, settings.accepted_tokens()))
    if short:
        get_logger(PROGRAM).warning(
            "tokens can be guessed; make longer ones, e.g. with: openssl rand -hex 32",
            short_tokens=short,
            shorter_than=UNGUESSABLE_CHARACTERS,
        )


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    settings = parse_settings(GatewaySettings, f"python -P -m {PROGRAM}", arguments)
    if settings.exit_with_parent:
        tie_to_parent()
    configure_logging(settings, PROGRAM)
    try:
        settings.require_safe_binding()
        server = build_server(settings)
        listener = listen(settings.host, settings.port)
    except SettingsError as error:
        return fail(PROGRAM, str(error))
    address, port = listener.getsockname()[:2]
    get_logger(PROGRAM).info(
        "gateway listens",
        url=f"http://{f'[{address}]' if ':' in address else address}:{port}",
        control_plane=settings.control_plane_address,
    )
    warn_of_short_tokens(settings)
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
