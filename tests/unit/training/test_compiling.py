"""Where torch.compile keeps what it made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from app.training.compiling import compiled
from app.training.data.cache import machine_folder

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def folder_of(home: str, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setenv(VARIABLE, "")  # so that the variable is put back afterwards
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    machine_folder.cache_clear()
    compiled(torch.nn.Linear(1, 1))
    machine_folder.cache_clear()
    return os.environ.get(VARIABLE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_a_folder_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_home = folder_of(str(tmp_path / "home"), tmp_path, monkeypatch)
    assert in_home == str(tmp_path / "home/.cache/training_engine/compiled")
    shared = tmp_path / f"training_engine_cache-{os.getuid()}"
    assert folder_of("/proc/none", tmp_path, monkeypatch) == str(shared / "compiled")
    assert (shared / "compiled").stat().st_mode & 0o777 == 0o700
    shared.chmod(0o777)  # anyone may put code there
    elsewhere = folder_of("/proc/none", tmp_path, monkeypatch)  # torch chooses
    assert elsewhere
    assert not elsewhere.startswith(str(shared))


def test_a_folder_that_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    compiled(torch.nn.Linear(1, 1))
    assert os.environ[VARIABLE] == str(tmp_path)
