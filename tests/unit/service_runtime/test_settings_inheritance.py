"""Every group of settings keeps the prefix, in whatever order a process combines them."""

from __future__ import annotations

import pytest

from service_runtime.settings import (
    AuthenticationSettings,
    RedisSettings,
    ServiceSettings,
    parse_settings,
)


class OneOrder(ServiceSettings, RedisSettings, AuthenticationSettings):
    """As the worker combines them."""


class OtherOrder(AuthenticationSettings, RedisSettings, ServiceSettings):
    """As the control plane combines them."""


@pytest.mark.parametrize("combined", [OneOrder, OtherOrder])
def test_variables_reach_every_group(
    monkeypatch: pytest.MonkeyPatch, combined: type[ServiceSettings]
) -> None:
    monkeypatch.setenv("TRAINING_ENGINE_REDIS_URL", "redis://elsewhere:1/0")
    monkeypatch.setenv("TRAINING_ENGINE_LOG_LEVEL", "error")
    monkeypatch.setenv("TRAINING_ENGINE_AUTH_TOKENS", "one,two")
    settings = parse_settings(combined, "test", [])
    assert isinstance(settings, RedisSettings)
    assert isinstance(settings, AuthenticationSettings)
    assert settings.resolved_redis_url() == "redis://elsewhere:1/0"
    assert settings.log_level == "error"
    assert settings.accepted_tokens() == ["one", "two"]
