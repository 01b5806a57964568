"""Errors and wrong usage on the command line: their text, and the codes that scripts get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import Cli, a_watch
from scripted_service import (
    ScriptedService,
    code_pb2,
    job,
    job_pb2,
    refuse,
)
from typer.testing import CliRunner

from training_engine.cli import extensions
from training_engine.cli.app import app
from training_engine.cli.exit_codes import MEANINGS, exit_code
from training_engine.errors import TOKEN_NEEDED, DeadlineExceededError, PermissionDeniedError


@pytest.mark.parametrize(
    ("code", "reason", "exit_with"),
    [
        (code_pb2.NOT_FOUND, "JOB_NOT_FOUND", 3),
        (code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", 4),
        (code_pb2.INVALID_ARGUMENT, "INVALID_CONFIG", 6),
        (code_pb2.INVALID_ARGUMENT, "PATH_NOT_ALLOWED", 2),
        (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", 7),
        (code_pb2.INTERNAL, "INTERNAL", 1),
    ],
)
def test_errors_are_one_block_and_an_exit_code(
    service: ScriptedService, cli: Cli, code: int, reason: str, exit_with: int
) -> None:
    service.on["GetJob"] = lambda request, context: refuse(context, code, reason, "what happened")
    result = cli("status", "j1")
    said = TOKEN_NEEDED if reason == "UNAUTHENTICATED" else "what happened"
    assert (result.exit_code, result.stdout, result.stderr) == (exit_with, "", f"error: {said}\n")
    assert f"  code: {reason.lower()}" in cli("status", "j1", "-v").stderr


def test_other_exit_codes() -> None:
    assert exit_code(DeadlineExceededError("late")) == 5
    assert exit_code(PermissionDeniedError("no")) == 7
    assert exit_code(OSError("disk")) == 1


@pytest.mark.parametrize(("end", "code"), [("SUCCEEDED", 0), ("FAILED", 8), ("STOPPED", 9)])
def test_watching_ends_as_the_job_does(
    service: ScriptedService, cli: Cli, tmp_path: Path, end: str, code: int
) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 9\n")
    service.on["WatchJob"] = a_watch(end)
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job(status=end))
    service.on["ResumeJob"] = lambda request, context: job_pb2.ResumeJobResponse(
        job=job(status="QUEUED")
    )
    assert cli("watch", "j1").exit_code == code
    assert cli("start", "c.yaml", "--watch").exit_code == code
    assert cli("resume", "j1", "--watch", "--json").exit_code == code
    assert cli("logs", "j1", "--follow").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "gone.yaml"],
        ["start", "gone"],
        ["validate", "gone.yaml"],
        ["configs", "create", "gone.yaml"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_not_there_is_wrong_usage(
    service: ScriptedService, cli: Cli, arguments: list[str]
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        f"error: {arguments[-1]}: No such file or directory; give a YAML or JSON file that can be "
        "read, or the id of a stored configuration\n",
    )
    assert service.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["list", "--no-such-option"],
        ["list", "--limit", "0"],
        ["list", "--status", "done"],
        ["start"],
        ["start", "c.yaml", "--set", "max_steps"],
        ["stop"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 9\n")
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("page", ["docs/cli.md", "client/README.md"])
def test_the_pages_name_the_same_exit_codes(cli: Cli, page: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == MEANINGS
    shown = " ".join(cli("--help").stdout.split())
    assert all(f"{code} {meaning.split()[0]}" in shown for code, meaning in MEANINGS.items())


def test_where_nobody_listens_the_remedy_is_told(service: ScriptedService, cli: Cli) -> None:
    service.stop()
    result = cli("list")
    assert (result.exit_code, result.stderr) == (
        5,
        f"error: no control plane at {service.address}; start one with `training-engine up`\n",
    )
    url = f"http://{service.address}"
    over_rest = CliRunner().invoke(app, ["list", "--url", url])
    assert over_rest.stderr == (
        f"error: no gateway at {url}; start one with `training-engine up`\n"
    )


def test_flags_win_over_the_environment(
    service: ScriptedService, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_ENGINE_URL", "http://127.0.0.1:1")
    service.on["ListWorkers"] = lambda request, context: refuse(
        context, code_pb2.NOT_FOUND, "JOB_NOT_FOUND", "reached"
    )
    assert cli("workers").stderr == "error: reached\n"
    assert "no gateway at http://127.0.0.1:1" in CliRunner().invoke(app, ["workers"]).stderr
    both = cli("workers", "--url", "http://x", "--address", "y")
    assert both.exit_code == 2
    assert "not both" in both.stderr


def test_a_command_that_is_not_installed_names_its_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "entry_points", lambda **choice: [])
    remedy = "install it with: pip install 'training-engine[local]'"
    result = cli("up", "--workers", "2")
    assert result.exit_code == 1
    assert result.stderr == f"error: `up` is not part of the SDK; {remedy}\n"
    exported = cli("export", "model.pt", "--output", "folder")
    assert "pip install 'training-engine[worker]'" in exported.stderr
    assert "up" in cli("--help").stdout
