"""Logs, tokens, signals, ties to a parent, and the metrics server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import Counter

from service_runtime.logs import redact
from service_runtime.settings import ServiceSettings, SettingsError
from service_runtime.telemetry import start_metrics_server
from service_runtime.tokens import TokenVerifier


def run_program(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", text],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LOGGING = """
import logging
from service_runtime.logs import configure_logging, get_logger
from service_runtime.settings import ServiceSettings
configure_logging(ServiceSettings(log_format="json", log_level="info"), "example")
get_logger("a").info("connects", url="redis://:hunter2@host:1/0", number=3)
get_logger("a").debug("unseen")
logging.getLogger("library").warning("header %s", "Authorization: Bearer abc.def")
try:
    raise ValueError("at redis://u:hunter2@host")
except ValueError:
    get_logger("a").exception("fails")
"""


def test_json_logs_are_whole_and_hold_no_secret() -> None:
    process = run_program(LOGGING)
    out, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [line["event"] for line in lines] == [
        "connects",
        "header Authorization: Bearer ***",
        "fails",
    ]
    assert lines[0]["url"] == "redis://:***@host:1/0"
    assert (lines[0]["level"], lines[0]["service"], lines[0]["number"]) == ("info", "example", 3)
    assert lines[0]["timestamp"].endswith("Z")
    assert "ValueError: at redis://u:***@host" in lines[2]["exception"]
    assert "hunter2" not in err


def test_redaction_leaves_other_text_alone() -> None:
    assert redact("http://host:80/a@b and user:name@x") == "http://host:80/a@b and user:name@x"


def test_tokens() -> None:
    verifier = TokenVerifier(["one", "zwölf"])
    assert verifier.required
    for header in ("Bearer one", "bearer zwölf", "Bearer  one "):
        assert verifier.accepts(header)
    for wrong in (None, "", "Bearer", "Bearer two", "one", "Basic one", "Bearer one two"):
        assert not verifier.accepts(wrong)
    assert "one" not in repr(vars(verifier))
    assert TokenVerifier([]).accepts(None)


WAITING = """
import asyncio
from service_runtime.process import stop_event
async def main():
    stopping = stop_event()
    print("ready", flush=True)
    await stopping.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_one_signal_asks_and_a_second_ends() -> None:
    process = run_program(WAITING)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 128 + signal.SIGINT
    process.communicate()


TIED = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-P", "-c", '''
import time
from service_runtime.process import tie_to_parent
tie_to_parent()
print("tied", flush=True)
time.sleep(60)
'''])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_tied_process_ends_with_its_parent(tmp_path: Path) -> None:
    parent = run_program(TIED)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "tied\n"
    parent.kill()
    parent.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_metrics_are_served_and_a_taken_port_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    Counter("example_things", "Things.").inc(3)
    start_metrics_server(ServiceSettings(metrics_port=port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        assert b"example_things_total 3.0" in response.read()
    with pytest.raises(SettingsError, match=f"--metrics-port: 127.0.0.1:{port} cannot be used"):
        start_metrics_server(ServiceSettings(metrics_port=port))
    start_metrics_server(ServiceSettings(metrics_port=0))
