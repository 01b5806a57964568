"""`training-engine inspect` without a service: the library looks, from this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import Result
from free_ports import free_port
from typer.testing import CliRunner

from training_engine._options import ADDRESS_VARIABLE, URL_VARIABLE
from training_engine.cli import session
from training_engine.cli.app import app


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset on a machine on which no service is named and none runs."""
    for variable in (ADDRESS_VARIABLE, URL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("training_engine.engine.DEFAULT_ADDRESS", f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(session, "RETRY_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"text": "one"}\n{"text": "three"}\n' * 40)
    return tmp_path / "data.jsonl"


def inspect(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


def test_a_look_needs_no_service(data: Path) -> None:
    looked = inspect("data.jsonl", "--local", "--json", "--set", "sequence_length=16")
    assert (looked.exit_code, looked.stderr) == (0, "")
    found = json.loads(looked.stdout)
    assert (found["documents"], found["characters"]) == (80, 320)
    assert found["files"][0]["path"] == str(data)
    config = data.with_name("config.yaml")
    config.write_text(f"dataset_path: {data.name}\nsequence_length: 16\n")
    assert json.loads(inspect("--local", "--json", "--config", str(config)).stdout) == found
    assert inspect("--local", "--config", str(config)).stderr == ""
    noted = inspect("data.jsonl", "--local").stderr
    assert noted.startswith("note: no --config was given: windows, tokenizer, `max_steps` and")
    assert "give --config FILE for those of your job" in noted


def test_where_no_service_is_named_and_none_answers_it_looks_by_itself(data: Path) -> None:
    looked = inspect(data.name)
    assert looked.exit_code == 0
    assert "no control plane at 127.0.0.1:" in looked.stderr
    assert "looked from this machine, as with --local" in looked.stderr
    assert looked.stdout == inspect(data.name, "--local").stdout
    assert "80 documents, 320 characters" in looked.stdout
    named = inspect(data.name, "--address", f"127.0.0.1:{free_port()}")
    assert (named.exit_code, named.stdout) == (5, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--local", "dataset://ds_1"], 2, "dataset://ds_1 is a dataset of a service; without one"),
        (["--local"], 6, "`dataset_path` is not set; name the data, or a configuration that does"),
        (["--local", "data.jsonl", "--set", "max_steps=0"], 6, "`max_steps` is 0"),
    ],
)
@pytest.mark.usefixtures("data")
def test_what_cannot_be_looked_into_is_said(arguments: list[str], code: int, said: str) -> None:
    refused = inspect(*arguments)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert said in refused.stderr


@pytest.mark.usefixtures("data")
def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "app.training.data.looking", None)
    refused = inspect("data.jsonl", "--local")
    assert refused.exit_code == 1
    assert "`inspect` needs app.training.data.looking, which is missing" in refused.stderr
    assert "pip install 'training-engine[worker]'" in refused.stderr
