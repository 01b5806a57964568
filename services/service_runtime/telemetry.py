"""A process's own measurements, served to Prometheus."""

from __future__ import annotations

from prometheus_client import start_http_server

from service_runtime.settings import ServiceSettings, SettingsError


def start_metrics_server(settings: ServiceSettings) -> None:
    """Serve `/metrics` in a thread of its own, where a port is set.

    Raises:
        SettingsError: A setting cannot be used.
    """
    if settings.metrics_port == 0:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise SettingsError(
            f"--metrics-port: {settings.metrics_host}:{settings.metrics_port} cannot be used: "
            f"{error.strerror}; choose another port, or 0 for none"
        ) from None
