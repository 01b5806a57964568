"""Files of this machine: `~` in their names, and what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from scripted_service import ScriptedService

from training_engine import TrainingEngine
from training_engine._config_source import config_source
from training_engine.errors import InvalidConfigError
from training_engine.v1 import config_pb2


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("max_steps: 5\ntokenizer: ~/t\nval_dataset_path: ~/v.txt\n")
    return tmp_path


def test_the_command_line_replaces_the_home(home: Path, cli: Cli, service: ScriptedService) -> None:
    assert cli("start", "~/c.yaml", "--dataset=~/a.txt").exit_code == 0
    sent = service.asked("StartJob")[-1]
    assert sent.dataset_path == f"{home}/a.txt"
    assert json.loads(sent.config_document) == {
        "max_steps": 5,
        "tokenizer": f"{home}/t",
        "val_dataset_path": f"{home}/v.txt",
    }


def test_paths_of_sources_are_of_this_machine(
    home: Path, cli: Cli, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "m.yaml").write_text("data: {sources: [~/a, {path: b, weight: 2}, dataset://c, 3]}\n")
    assert cli("start", "m.yaml").exit_code == 0
    sent = json.loads(service.asked("StartJob")[-1].config_document)
    named = [f"{home}/a", {"path": f"{home}/b", "weight": 2}, "dataset://c", 3]
    assert sent == {"data": {"sources": named}}


def test_the_sdk_replaces_the_home(
    home: Path, cli: Cli, service: ScriptedService, engine: TrainingEngine
) -> None:
    engine.jobs.start(config="~/c.yaml", dataset_path="~/a.txt")
    assert service.asked("StartJob")[-1].dataset_path == f"{home}/a.txt"
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse()
    engine.configs.validate("~/c.yaml", val_dataset_path="~/v.txt")
    assert service.asked("ValidateConfig")[-1].val_dataset_path == f"{home}/v.txt"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", "010"), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("2024-01-01", "2024-01-01"),
        ("10", 10), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("0.5", 0.5), ("6.0e-4", 6e-4),
        ("0", 0), ("yes", True), ("~", None), (".inf", float("inf")),
    ],
)  # fmt: skip
def test_values_stay_what_the_service_makes_of_them(text: str, value: Any) -> None:
    assert config_source(f"key: {text}\n").mapping == {"key": value}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_configuration_in_utf_16(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("max_steps: 5\n".encode(encoding))
    assert config_source(path).mapping == {"max_steps": 5}


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("name: größer".encode("latin-1"))
    with pytest.raises(InvalidConfigError, match="is not text in UTF-8 or UTF-16"):
        config_source(path)
