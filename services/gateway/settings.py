"""Settings of the gateway, by flag or by variable."""

from __future__ import annotations

from service_runtime.settings import ListenSettings, NameList, ServiceSettings, setting

MEBIBYTE = 1 << 20


class GatewaySettings(ListenSettings, ServiceSettings):
    """Serve the engine's REST API, its live event streams and its dashboard."""

    control_plane_address: str = setting("127.0.0.1:50051", "address of the control plane")
    port: int = setting(8000, "port to listen on; 0 for any free one", ge=0, le=65535)
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
    session_seconds: int = setting(
        7 * 24 * 3600, "how long a browser stays signed in", unit="seconds", gt=0
    )
    client_timeout_seconds: float = setting(
        60.0,
        "longest wait for a client: for a request's head, for a JSON body, for more of an upload, "
        "or until it reads more of what was sent",
        unit="seconds",
        gt=0,
    )
    max_streams: int = setting(2000, "event streams that may be open at once", gt=0)
    ping_seconds: float = setting(
        15.0, "silence after which an event stream sends a comment", unit="seconds", gt=0
    )
    shutdown_seconds: int = setting(
        10, "time that requests get to end after SIGTERM", unit="seconds", ge=0
    )
