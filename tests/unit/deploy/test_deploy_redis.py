"""The script that starts Redis in compose and Kubernetes, run with a real server."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from dockerfile import ROOT
from redis_server import free_port, server_binary

BASE = ROOT / "deploy" / "kubernetes" / "base"
PASSWORD = 'a password with "quotes", a \\ and 100% #more'


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The script's variables: our configuration, on a free port and in the test's folder."""
    port = free_port()
    text = (BASE / "redis.conf").read_text()
    for line, here in (
        ("port 6379", f"port {port}"),
        ("dir /data", f"dir {tmp_path}"),
        ("bind * -::*", "bind 127.0.0.1"),
    ):
        assert f"\n{line}\n" in text
        text = text.replace(line, here)
    configuration = tmp_path / "redis.conf"
    configuration.write_text(text)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "tmp").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(tmp_path / "tmp"),
        "REDIS_SERVER": server_binary(),
        "REDIS_CONFIGURATION": str(configuration),
        "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "REDIS_PORT": str(port),
        "REDIS_MEMORY_MIB": "1024",
    }


@pytest.fixture
def server(variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["sh", str(BASE / "redis-start.sh")], env=variables, stdout=subprocess.DEVNULL
    )
    yield process
    process.terminate()
    process.wait(timeout=20)


def connect(variables: dict[str, str], password: str | None) -> redis.Redis:
    port = int(variables["REDIS_PORT"])
    return redis.Redis(port=port, password=password, socket_timeout=2, protocol=2)


def wait_until_it_answers(client: redis.Redis) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_server_keeps_all_and_lets_in_by_password(
    variables: dict[str, str], server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with connect(variables, PASSWORD) as client:
        wait_until_it_answers(client)
        settings = client.config_get("append*", "maxmemory*", "save")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["maxmemory"] == str(768 << 20)
        assert settings["save"] == ""
    with (
        connect(variables, None) as stranger,
        pytest.raises(redis.AuthenticationError, match="Authentication required"),
    ):
        stranger.ping()
    # The script became the server: it gets the signals, and its arguments show no password.
    arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert b"server" in arguments
    assert PASSWORD.encode() not in arguments
    (made,) = (tmp_path / "tmp").glob("*/redis.conf")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    server.terminate()
    assert server.wait(timeout=20) == 0


def test_the_probe_tells_a_server_that_answers(
    variables: dict[str, str], server: subprocess.Popen[bytes]
) -> None:
    client = shutil.which("valkey-cli") or shutil.which("redis-cli")
    beside = Path(variables["REDIS_SERVER"]).with_name("valkey-cli")
    variables["REDIS_CLI"] = client or str(beside)
    with connect(variables, PASSWORD) as connection:
        wait_until_it_answers(connection)
    probe = ["sh", str(BASE / "redis-ping.sh")]
    assert subprocess.run(probe, env=variables, check=False).returncode == 0
    wrong = Path(variables["REDIS_PASSWORD_FILE"])
    wrong.write_text("wrong")
    refused = subprocess.run(probe, env=variables, capture_output=True, check=False)
    assert refused.returncode != 0


def test_no_server_starts_without_a_password(variables: dict[str, str]) -> None:
    Path(variables["REDIS_PASSWORD_FILE"]).write_text("")
    done = subprocess.run(
        ["sh", str(BASE / "redis-start.sh")],
        env=variables, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is empty; anyone who can write to this server can run code on workers" in done.stderr


@pytest.mark.parametrize("limit", ["", "0", "8"])
def test_no_server_starts_without_a_bound_of_its_memory(
    variables: dict[str, str], limit: str
) -> None:
    done = subprocess.run(
        ["sh", str(BASE / "redis-start.sh")],
        env=variables | {"REDIS_MEMORY_MIB": limit},
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"REDIS_MEMORY_MIB is '{limit}'; it must be the container's memory limit" in done.stderr
