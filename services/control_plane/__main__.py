"""Runs the control plane: `python -P -m control_plane --help`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from control_plane.server import ControlPlane
from control_plane.settings import ControlPlaneSettings
from control_plane.state import ServiceState
from job_store.clients import UnsafeFailoverError, require_safe_failover
from service_runtime.logs import configure_logging, get_logger
from service_runtime.process import fail, stop_event, tie_to_parent
from service_runtime.settings import SettingsError, mask_url, parse_settings
from service_runtime.telemetry import start_metrics_server

_PROGRAM = "control_plane"


async def serve(settings: ControlPlaneSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: A setting, or the address to listen on, cannot be used.
        UnsafeFailoverError: A failover of Redis would throw away confirmed writes.
    """
    settings.require_safe_binding()
    log = get_logger(_PROGRAM)
    with suppress(RedisError):  # it is away: checked again when it is back
        await asyncio.to_thread(require_safe_failover, settings.resolved_redis_url())
    stopping = stop_event()
    start_metrics_server(settings)
    state = ServiceState(settings)
    plane = ControlPlane(state, settings.accepted_tokens())
    try:
        await plane.start()
    except SettingsError:
        await state.close()
        raise
    redis = mask_url(settings.resolved_redis_url())
    log.info("control plane listens", host=settings.host, port=plane.port, redis=redis)
    await stopping.wait()
    log.info("control plane is stopping")
    await plane.stop(settings.shutdown_grace_seconds)
    log.info("control plane has stopped")


def recover(settings: ControlPlaneSettings) -> int:
    """Rebuild the records from the artifact store, and return the exit code."""
    from recovery.command import run  # the server needs nothing of it

    try:
        url = settings.resolved_redis_url()
    except SettingsError as error:
        return fail(_PROGRAM, str(error))
    return run(url, settings.artifact_root, as_json=settings.recovery_json)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process and return its exit code."""
    settings = parse_settings(ControlPlaneSettings, f"python -P -m {_PROGRAM}", arguments)
    configure_logging(settings, _PROGRAM)
    if settings.exit_with_parent:
        tie_to_parent()
    if settings.recover:
        return recover(settings)
    try:
        asyncio.run(serve(settings))
    except (SettingsError, UnsafeFailoverError, OSError) as error:
        return fail(_PROGRAM, str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
