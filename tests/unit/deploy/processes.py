"""What a process of ours makes of a container's arguments and variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

from dockerfile import Dockerfile

from app.training.data.cache import LOCATION_VARIABLE
from control_plane.settings import ControlPlaneSettings
from gateway.settings import GatewaySettings
from service_runtime.settings import ENV_PREFIX, parse_settings
from training_worker.settings import WorkerSettings

SETTINGS: dict[str, Any] = {
    "control-plane": ControlPlaneSettings,
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
}
SECRET_FILES = {
    "control-plane": {"redis_password", "auth_tokens"},
    "gateway": {"auth_tokens"},
    "worker": {"redis_password"},
}
"""The secrets that each role needs, and so may have."""


def resolved(role: str, arguments: Sequence[str], variables: Mapping[str, str]) -> Any:
    """The settings that the image's process ends up with; fails on a flag or a variable that it
    does not know."""
    given = {**Dockerfile(role).final.environment(), **variables}
    ours = {name for name in given if name.startswith(ENV_PREFIX)} - {LOCATION_VARIABLE}
    known = {ENV_PREFIX + field.upper() for field in SETTINGS[role].model_fields}
    assert ours <= known, f"{role} knows no {sorted(ours - known)}"
    with patch.dict(os.environ, given, clear=True):
        return parse_settings(SETTINGS[role], role, arguments)


def secret_files(settings: Any) -> list[str]:
    """The files of secrets that a process will read."""
    names = ("redis_url_file", "redis_password_file", "auth_tokens_file")
    return [str(path) for name in names if (path := getattr(settings, name, None)) is not None]
