"""Settings: flags over environment over defaults; help, secrets, and wrong values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from service_runtime.settings import (
    AuthenticationSettings,
    PathList,
    RedisSettings,
    ServiceSettings,
    SettingsError,
    build_parser,
    mask_url,
    parse_settings,
    setting,
)


class ExampleSettings(AuthenticationSettings, RedisSettings, ServiceSettings):
    """Does something."""

    data_root: PathList = setting([], "folder to read from")
    pace_seconds: float = setting(2.5, "time between looks, 100% exact", unit="seconds", gt=0)
    visible: bool = setting(True, "whether it is seen")


def parse(*arguments: str) -> ExampleSettings:
    return parse_settings(ExampleSettings, "example", arguments)


def test_flags_win_over_variables_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse().pace_seconds == 2.5
    monkeypatch.setenv("TRAINING_ENGINE_PACE_SECONDS", "3")
    assert parse().pace_seconds == 3.0
    assert parse("--pace-seconds=4").pace_seconds == 4.0
    monkeypatch.setenv("TRAINING_ENGINE_VISIBLE", "false")
    assert parse().visible is False
    assert parse("--visible").visible is True
    assert parse("--no-visible").visible is False


def test_lists_repeat_as_flags_and_separate_as_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("--data-root=/a,b", "--data-root", "/c").data_root == [Path("/a,b"), Path("/c")]
    monkeypatch.setenv("TRAINING_ENGINE_DATA_ROOT", "/x:/y")
    assert parse().data_root == [Path("/x"), Path("/y")]


def test_help_tells_unit_default_and_meaning_of_every_flag() -> None:
    text = " ".join(build_parser(ExampleSettings, "example").format_help().split())
    assert "time between looks, 100% exact (seconds; default: 2.5)" in text
    assert "folder to read from (may be repeated; default: none)" in text
    assert "whether it is seen (default: on)" in text
    assert "--visible, --no-visible" in text
    assert "variable TRAINING_ENGINE_NAME" in text
    for name in ExampleSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--pace-seconds=0"], "--pace-seconds: '0' is not usable: Input should be greater than 0"),
        (["--metrics-port=70000"], "--metrics-port: '70000' is not usable"),
        (["--log-level=loud"], "invalid choice: 'loud'"),
    ],
)
def test_a_wrong_value_is_one_line_and_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("\nredis://:pw@host:1/0\n")
    (tmp_path / "tokens").write_text("one\n\n two \n")
    settings = parse(
        f"--redis-url-file={tmp_path / 'url'}", f"--auth-tokens-file={tmp_path / 'tokens'}",
        "--auth-tokens=three,,four",
    )  # fmt: skip
    assert settings.resolved_redis_url() == "redis://:pw@host:1/0"
    assert settings.accepted_tokens() == ["three", "four", "one", "two"]
    assert "three" not in repr(settings)
    assert "pw" not in repr(parse("--redis-url=redis://:pw@host"))


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://host:1/0", "redis://:p%40%2Fw@host:1/0"),
        ("rediss://user@host/0?timeout=1", "rediss://user:p%40%2Fw@host/0?timeout=1"),
        ("redis://[::1]:1", "redis://:p%40%2Fw@[::1]:1"),
        ("unix:///run/redis.sock?db=2", "unix://:p%40%2Fw@/run/redis.sock?db=2"),
    ],
)
def test_a_password_of_a_file_completes_the_url(tmp_path: Path, url: str, whole: str) -> None:
    (tmp_path / "password").write_text("p@/w\n")
    settings = parse(f"--redis-url={url}", f"--redis-password-file={tmp_path / 'password'}")
    assert settings.resolved_redis_url() == whole
    assert redis.Redis.from_url(whole).connection_pool.connection_kwargs["password"] == "p@/w"
    assert "p@/w" not in repr(settings)


def test_two_passwords_are_refused_without_naming_them(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    settings = parse("--redis-url=redis://:pw@host", f"--redis-password-file={tmp_path}/password")
    with pytest.raises(SettingsError, match="holds a password already; leave out one") as caught:
        settings.resolved_redis_url()
    assert "secret" not in str(caught.value)
    assert "pw@" not in str(caught.value)


def test_secret_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name, text in (
        ("none", "--redis-url-file: cannot read"),
        ("empty", "is empty; write the value on a line"),
        ("bytes", "it is not UTF-8 text"),
    ):
        with pytest.raises(SettingsError, match=text):
            parse(f"--redis-url-file={tmp_path / name}").resolved_redis_url()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://:pw@host:1/0", "redis://:***@host:1/0"),
        ("redis://user:pw@host", "redis://user:***@host"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://[", "<a malformed URL>"),
    ],
)
def test_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_a_secret_default_does_not_print_its_password() -> None:
    class Secretive(ServiceSettings):
        redis_url: Any = setting(SecretStr("redis://:pw@host"), "where")

    assert "redis://:***@host" in build_parser(Secretive, "x").format_help()


def test_importing_is_light() -> None:
    """The worker imports these and must not pay for gRPC; nobody here pays for torch."""
    program = (
        "import sys, service_runtime.settings, service_runtime.logs, service_runtime.process, "
        "service_runtime.telemetry, service_runtime.tokens\n"
        "heavy = {'grpc', 'torch', 'redis', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)
