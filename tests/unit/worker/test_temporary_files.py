"""Temporary files of trainers go with them, and those of a killed worker with the next one."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from training_worker.temporary_files import TemporaryFiles, use_folder


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leave_files(folder: Path | None) -> None:
    """Make what a trainer makes, in a process that is killed."""
    if (pid := os.fork()) == 0:
        use_folder(folder)
        tempfile.mkdtemp(prefix="torchelastic_")
        Path(os.environ["TMPDIR"], "pymp-x").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_killed_trainer_left_is_removed(machine: Path) -> None:
    files = TemporaryFiles()
    with files.for_trainer() as folder:
        assert folder is not None
        leave_files(folder)
        assert len(list(folder.iterdir())) == 2
    assert not folder.exists()
    files.close()
    assert list(machine.iterdir()) == []


def test_what_a_killed_worker_left_is_removed_by_the_next_and_no_other_ones(machine: Path) -> None:
    living = TemporaryFiles()
    with living.for_trainer() as kept:
        if (pid := os.fork()) == 0:
            with TemporaryFiles().for_trainer() as folder:
                leave_files(folder)
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert len(list(machine.iterdir())) == 2
        TemporaryFiles()
        assert kept is not None
        assert list(machine.iterdir()) == [kept.parent]
    living.close()


def test_a_trainer_runs_where_no_folder_can_be_made(
    monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(machine / "gone"))
    with TemporaryFiles().for_trainer() as folder:
        assert folder is None
    use_folder(folder)
    assert tempfile.gettempdir() == str(machine / "gone")
