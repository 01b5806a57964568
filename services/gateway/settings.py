"""What the gateway can be told, by flag or by variable."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from service_runtime.settings import (
    AuthenticationSettings,
    ServiceSettings,
    SettingsError,
    setting,
)

MEBIBYTE = 1 << 20


def _split_names(value: Any) -> Any:
    """A list from a variable: names are separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


NameList = Annotated[list[str], NoDecode, BeforeValidator(_split_names)]
"""A repeatable flag; in the environment, names are separated by commas."""


class GatewaySettings(AuthenticationSettings, ServiceSettings):
    """Serve the engine's REST API, its live event streams and its dashboard."""

    control_plane_address: str = setting("127.0.0.1:50051", "address of the control plane")
    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "port to listen on; 0 for any free one", ge=0, le=65535)
    allow_unauthenticated: bool = setting(
        False, "listen beyond this machine although no token is configured"
    )
    allowed_host: NameList = setting(
        [], "host name that requests may name besides localhost and plain IP addresses"
    )
    control_plane_timeout_seconds: float = setting(
        10.0, "longest wait for one answer of the control plane", unit="seconds", gt=0
    )
    max_body_bytes: int = setting(
        2 * MEBIBYTE, "largest JSON request that is read", unit="bytes", gt=0
    )
    max_upload_bytes: int = setting(
        64 << 30, "largest dataset that may be uploaded", unit="bytes", gt=0
    )
    max_streams: int = setting(2000, "event streams that may be open at once", gt=0)
    ping_seconds: float = setting(
        15.0, "silence after which an event stream sends a comment", unit="seconds", gt=0
    )
    shutdown_seconds: int = setting(
        10, "time that requests get to end after SIGTERM", unit="seconds", ge=0
    )

    def require_safe_binding(self) -> None:
        """Refuse to serve a network that nobody is kept out of. Raises `SettingsError`."""
        if is_loopback(self.host) or self.accepted_tokens() or self.allow_unauthenticated:
            return
        raise SettingsError(
            f"--host: {self.host} can be reached from other machines and no token is configured, "
            "so anybody there could stop jobs and read checkpoints; configure --auth-tokens-file, "
            "listen on 127.0.0.1, or pass --allow-unauthenticated if the network itself is trusted"
        )


def is_loopback(host: str) -> bool:
    """True for an address or name that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
