"""Runs the launcher: `python -P -m launcher --help`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

from launcher.launcher import EXPECTED, Launcher
from launcher.settings import LauncherSettings
from service_runtime.duties import Duties
from service_runtime.logs import configure_logging, get_logger
from service_runtime.process import fail, stop_event, tie_to_parent
from service_runtime.settings import SettingsError, parse_settings
from service_runtime.telemetry import start_metrics_server

_PROGRAM = "launcher"


async def launch(settings: LauncherSettings) -> None:
    """Run rounds until SIGTERM or SIGINT. A round that has begun is finished.

    Raises:
        SettingsError: A setting cannot be used.
    """
    stopping = stop_event()
    start_metrics_server(settings)
    settings.token()  # a missing file is said at once
    log = get_logger(_PROGRAM)
    log.info("launcher has started", control_plane=settings.control_plane_address)
    look = Launcher(settings).look
    await Duties(expected=EXPECTED).keep(
        _PROGRAM, look, seconds=settings.round_seconds, stopping=stopping
    )
    log.info("launcher has stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process and return its exit code."""
    settings = parse_settings(LauncherSettings, f"python -P -m {_PROGRAM}", arguments)
    configure_logging(settings, _PROGRAM)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request
    if settings.exit_with_parent:
        tie_to_parent()
    try:
        asyncio.run(launch(settings))
    except SettingsError as error:
        return fail(_PROGRAM, str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
