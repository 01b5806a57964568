"""A sweep whose configuration is a file: SDK and command line read it before they send it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training_engine._config_source import sweep_source
from training_engine.cli.local_paths import read_sweep
from training_engine.errors import InvalidArgumentError, InvalidConfigError

PARAMETERS = "parameters: {batch_size: [4, 8]}\n"
READ = {"config": {"max_steps": 7}, "parameters": {"batch_size": [4, 8]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep with its configuration beside it, seen from another folder."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study/base.yaml").write_text("max_steps: 7\n")
    (tmp_path / "study/sweep.yaml").write_text(f"config: base.yaml\n{PARAMETERS}")
    (tmp_path / "study/broken.yaml").write_text(f"config: gone.yaml\n{PARAMETERS}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "sweep",
    [
        "study/sweep.yaml",
        Path("study/sweep.yaml"),
        f"config: study/base.yaml\n{PARAMETERS}",
        {"config": "study/base.yaml", "parameters": {"batch_size": [4, 8]}},
        {"config": Path("study/base.yaml"), "parameters": {"batch_size": [4, 8]}},
        {"config": "max_steps: 7", "parameters": {"batch_size": [4, 8]}},
        {"config": {"max_steps": 7}, "parameters": {"batch_size": [4, 8]}},
    ],
)
def test_the_name_of_a_file_is_replaced_by_what_it_holds(folder: Path, sweep: Any) -> None:
    assert sweep_source(sweep).mapping == READ


def test_the_command_line_reads_the_same(folder: Path) -> None:
    assert read_sweep("study/sweep.yaml", []) == READ
    assert read_sweep("study/sweep.yaml", ["max_steps=9"])["config"] == {"max_steps": 9}


def test_a_setting_that_would_change_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="`batch_size` is a parameter of the sweep"):
        read_sweep("study/sweep.yaml", ["batch_size=16"])
    (folder / "stored.yaml").write_text(f"config_id: cfg_1\n{PARAMETERS}")
    with pytest.raises(InvalidArgumentError, match="needs a `config` in the sweep"):
        read_sweep("stored.yaml", ["max_steps=9"])
    assert read_sweep("stored.yaml", [])["config_id"] == "cfg_1"


def test_what_names_no_file_is_sent_as_it_is(folder: Path) -> None:
    text = f"config_id: cfg_1\n{PARAMETERS}"
    assert sweep_source(text).text == text
    assert sweep_source("parameters: [\n").text == "parameters: [\n"


def test_a_file_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    for read in (sweep_source, lambda path: read_sweep(path, [])):
        with pytest.raises(
            InvalidConfigError, match=r"study/gone\.yaml: No such file or directory"
        ):
            read("study/broken.yaml")
