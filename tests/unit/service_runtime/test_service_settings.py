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
        (["--data-root=/a\udce9"], "is not text in UTF-8; rename the folder, or name another"),
    ],
)
def test_a_wrong_value_is_one_line_and_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINING_ENGINE_PACE_SECONDS", "abc")
    with pytest.raises(SystemExit):
        parse()
    said = capsys.readouterr().err
    assert said.startswith("example: error: TRAINING_ENGINE_PACE_SECONDS: 'abc' is not usable")


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
        ("redis://:p@w/x?y#z@host:1/0", "redis://:***@host:1/0"),
        ("redis://:p[w@host", "redis://:***@host"),
        ("redis://host/0?password=pw&x=1", "redis://host/0?password=***&x=1"),
    ],
)
def test_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    "url",
    ["redis://:hush@hush/x@h:1/0", "redis://:hush/x@h", "redis://:hush#x@h", "redis://:hush?x@h:1/0",
     "redis://:hush[x@h", "unix://:hush#x@/run/redis.sock"],
)  # fmt: skip
def test_a_password_that_breaks_its_url_is_refused_without_a_piece_of_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"the Redis URL cannot be read; .*%40.*") as caught:
        RedisSettings(redis_url=SecretStr(url)).resolved_redis_url()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://:a@b@h:1/0", "redis://:a%2Fb%40@h/0", "rediss://u:p@[::1]:1/0?ssl_cert_reqs=none",
     "unix:///run/a@b.sock", "unix://u:p@/run/redis.sock?db=1"],
)  # fmt: skip
def test_urls_whose_parts_are_clear_are_taken(url: str) -> None:
    assert RedisSettings(redis_url=SecretStr(url)).resolved_redis_url() == url


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRAINING_ENGINE_AUTH_TOKENS_FILE", "~/tokens")
    settings = parse("--data-root=~/text", "--data-root=/srv")
    assert settings.data_root == [tmp_path / "text", Path("/srv")]
    assert settings.auth_tokens_file == tmp_path / "tokens"


def test_tokens_that_no_header_can_carry_are_refused() -> None:
    with pytest.raises(SettingsError, match="token 2 holds a space or a character beyond"):
        AuthenticationSettings(auth_tokens=SecretStr("good,schlüssel")).accepted_tokens()


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
