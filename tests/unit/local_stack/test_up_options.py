"""What `training-engine up` refuses before it touches anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training_engine.cli.app import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot", "3"], "`up` has no option --prot; the nearest is --data-root, --grpc-port, "),
        (["--worker=3"], "`up` has no option --worker; the nearest is --workers"),
        (["extra"], "'extra' is too much: `up` takes options only"),
        (
            ["--grpc-port", "7000", "--http-port", "7000"],
            "--grpc-port and --http-port are both 7000; give each its own, or 0 for a free one",
        ),
        (["--redis-url", "foo"], "--redis-url must be a URL such as redis://localhost:6379/0"),
        (["--redis-url", "redis://:hush@h:x"], "--redis-url must be a URL such as redis://"),
        (["--redis-memory=8"], "--redis-memory is 8; it must be at least 16 MiB; leave it out"),
        (["--data-root", "/no/such"], "--data-root /no/such is no folder; make it, or name"),
        (["--data-root", ""], "Invalid value for '--data-root': it is empty"),
        (["--data-dir", ""], "Invalid value for '--data-dir': it is empty"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_wrong_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["up", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
    assert "hush" not in result.stderr
    assert list(tmp_path.iterdir()) == []
