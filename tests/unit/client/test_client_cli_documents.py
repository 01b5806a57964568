"""The configuration and the data of a command: where they come from, what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli
from scripted_service import (
    ScriptedService,
    code_pb2,
    config_pb2,
    dataset_pb2,
    refuse,
)


def test_start_leaves_a_document_as_it_is(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("# kept\nmax_steps: 5\n")
    cli("start", "config.yaml", "--dataset", "dataset://d1")
    cli("start", "cfg_1")
    by_file, by_id = service.asked("StartJob")
    assert by_file.config_document == "# kept\nmax_steps: 5\n"
    assert by_file.dataset_path == "dataset://d1"
    assert by_id.config_id == "cfg_1"


def test_an_empty_data_path_is_not_the_current_folder(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text('dataset_path: ""\nmax_steps: 5\n')
    for flag in ("--dataset", "--val-dataset"):
        refused = cli("start", "c.yaml", flag, "")
        assert refused.exit_code == 2
        assert f"{flag} is empty; name a file" in refused.stderr
    assert service.asked("StartJob") == []
    assert cli("start", "c.yaml").exit_code == 0
    (request,) = service.asked("StartJob")
    assert request.config_document == 'dataset_path: ""\nmax_steps: 5\n'


@pytest.mark.parametrize("command", ["start", "validate"])
def test_data_that_are_named_twice_are_refused(cli: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 5\n")
    for flag, field in (("--dataset", "dataset_path"), ("--val-dataset", "val_dataset_path")):
        refused = cli(command, "c.yaml", flag, "a.txt", "--set", f"{field}=b.txt")
        assert refused.exit_code == 2
        said = " ".join(refused.stderr.replace("│", " ").split())
        assert f"{flag} a.txt and --set {field}=b.txt both name the data; leave one of" in said


def test_a_start_without_data_names_the_flag(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 5\n")
    problem = {"dataset_path": "`dataset_path` is missing"}
    service.on["StartJob"] = lambda request, context: refuse(
        context, code_pb2.INVALID_ARGUMENT, "INVALID_CONFIG", "invalid", problem
    )
    result = cli("start", "c.yaml")
    assert result.exit_code == 6
    assert "  name the data with --dataset PATH\n" in result.stderr
    assert "--dataset PATH" not in cli("start", "c.yaml", "--dataset", "x").stderr


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_is_called_empty(
    service: ScriptedService, cli: Cli, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    result = cli("validate", "empty.yaml")
    assert result.exit_code == 6
    assert result.stderr == (
        "error: the configuration cannot be used: empty.yaml is empty; give a YAML or JSON "
        "document, e.g. `max_steps: 1000`\n"
    )


def test_validate_lists_every_problem(service: ScriptedService, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("batch_size: 0\n")
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=False,
        errors=[{"field": "batch_size", "message": "is 0"}, {"field": "x", "message": "unknown"}],
        num_parameters=124_439_808,
    )
    result = cli("validate", "bad.yaml")
    assert result.exit_code == 6
    assert result.stdout.splitlines()[:2] == ["error: batch_size: is 0", "error: x: unknown"]
    assert "124,439,808" in result.stdout


def test_validate_takes_what_start_takes(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=True
    )
    (tmp_path / "good.yaml").write_text("batch_size: 2\n")
    result = cli(
        *("validate", "good.yaml", "--set", "model_config.num_layers=3"),
        *("--dataset", "text.txt", "--val-dataset", "dataset://ds_1"),
    )
    assert result.exit_code == 0
    (asked,) = service.asked("ValidateConfig")
    assert json.loads(asked.config_document) == {
        "batch_size": 2,
        "model_config": {"num_layers": 3},
    }
    assert asked.dataset_path == str(tmp_path / "text.txt")
    assert asked.val_dataset_path == "dataset://ds_1"
    assert cli("validate", "good.yaml", "--dataset", " ").exit_code == 2


def test_inspect_shows_what_training_would_learn(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    file = {"path": "/d/a.jsonl", "use": "train", "form": "json lines", "size_bytes": 2048}
    window = {"tokens": 9, "segments": [{"text": "2+2?"}, {"text": "4", "trained": True}]}
    service.on["InspectDataset"] = lambda request, context: dataset_pb2.InspectDatasetResponse(
        files=[
            {**file, "documents": 5, "tokens": 70},
            {"path": "/d/README.md", "use": "skipped", "reason": "a card"},
        ],
        documents=5, duplicate_documents=1, characters=60, tokens=74, estimated_tokens=7400,
        lengths=[{"tokens_from": 8, "documents": 4}, {"tokens_from": 16, "documents": 1}],
        tokenizer="byte", vocabulary_used=30, epochs=12.5, windows=[window],
        warnings=[{"field": "dataset_path", "message": "copies"}],
    )  # fmt: skip
    result = cli("inspect", "d", "--set", "sequence_length=8")
    assert result.exit_code == 0
    (asked,) = service.asked("InspectDataset")
    assert asked.dataset_path == str(tmp_path / "d")
    assert json.loads(asked.config_document) == {"sequence_length": 8}
    lines = result.stdout.splitlines()
    assert lines[0] == "warning: dataset_path: copies"
    assert "/d/a.jsonl (5 documents, 70 tokens, the beginning alone)" in lines[1]
    assert "/d/README.md: a card" in lines[2]
    assert "about 7,400 tokens in all" in lines
    assert "max_steps goes through the data 12.5 times" in lines
    assert lines[-1] == "window 1, 9 tokens: '[[2+2?]]4'"
    found = json.loads(cli("inspect", "d", "--json").stdout)
    assert found["windows"][0]["segments"][1] == {"text": "4", "trained": True}
    service.on["InspectDataset"] = lambda request, context: dataset_pb2.InspectDatasetResponse(
        problems=[{"field": "dataset_path", "message": "is empty"}]
    )
    assert cli("inspect", "d").exit_code == 6


def test_a_configuration_comes_from_the_standard_input(service: ScriptedService, cli: Cli) -> None:
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=True
    )
    assert cli("validate", "-", stdin="max_steps: 3").exit_code == 0
    (asked,) = service.asked("ValidateConfig")
    assert asked.config_document == "max_steps: 3\n"
    for wrong, said in (("", "is empty"), (b"\xff", "is not text in UTF-8")):
        result = cli("validate", "-", stdin=wrong)
        assert (result.exit_code, f"the standard input {said}" in result.stderr) == (6, True)
    assert "give one with --name" in cli("configs", "create", "-", stdin="max_steps: 3").stderr
