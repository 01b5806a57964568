"""What `training-engine up` refuses before it touches anything."""

from __future__ import annotations

import json
import os
import pwd
import resource
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local_stack.command import print_addresses
from local_stack.data_folder import DataFolder
from local_stack.embedded_server import as_argument, quoted
from local_stack.errors import DataFolderError, SettingRefusedError
from local_stack.stack import Stack, StackOptions, require_artifacts
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
        (["--redis-url", "redis://:hush@h:x"], "the Redis URL cannot be read; where a password"),
        (["--redis-url", "redis://:hush@hush/x@h:1/0"], "the Redis URL cannot be read; where a"),
        (["--redis-memory=8"], "--redis-memory is 8; it must be 16 to "),
        (["--redis-memory=99999999999"], "MiB, the memory of this machine; leave it out for a"),
        (["--data-root", "/no/such"], "--data-root /no/such is not a folder; make it, or name"),
        (["--data-root", ""], "Invalid value for '--data-root': it is empty"),
        (["--artifact-root=s3://My_Models"], "an address has the form s3://bucket/prefix; the bu"),
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


def test_a_user_without_a_home_names_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for arguments, said in (
        ([], "has no home folder for the jobs' data; name a folder with --data-dir"),
        (["--data-dir=~/x"], "~/x begins with ~, and this user has no home folder"),
    ):
        result = CliRunner().invoke(app, ["up", *arguments], env={"COLUMNS": "200"})
        assert result.exit_code in (1, 2)
        assert said in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_any_folder_can_be_said_in_the_servers_configuration() -> None:
    assert quoted(Path('/a "b" \\ ü\n')) == r'"/a \x22b\x22 \x5c \xc3\xbc\x0a"'
    assert as_argument(Path("/a b\\c")) == "/a b\\c"
    assert as_argument(Path("/a [b]*\\c")) == r"/a \[b\]\*\\c"


def test_an_artifact_root_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    root = tmp_path / "text.txt"
    root.touch()
    with pytest.raises(SettingRefusedError) as refused:
        require_artifacts(root)
    assert str(refused.value) == (
        f"--artifact-root {root} cannot be used: File exists; give a folder that you may write"
    )
    require_artifacts(tmp_path / "new")
    require_artifacts(None)


@pytest.mark.parametrize("flag", ["--data-dir", "--data-root", "--artifact-root", ""])
def test_a_folder_whose_name_is_not_text_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(tmp_path if flag else folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, ["up", *([flag, str(folder)] if flag else [])])
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        f"the folder {str(folder)!a} has a name that is not text in UTF-8; rename it, or use "
        "another"
    ) in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == [folder]


def test_a_data_folder_on_a_full_disk_is_refused(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(DataFolderError) as refused, DataFolder(tmp_path / "data"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(refused.value) == (
        f"the data folder {tmp_path / 'data'} cannot be written: File too large; free some space "
        "there, or give another folder with --data-dir"
    )
    with DataFolder(tmp_path / "data"):
        assert json.loads((tmp_path / "data" / "lock").read_text()) == {"pid": os.getpid()}


def test_a_stack_stays_up_where_its_output_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = StackOptions(50051, 8000, 1, None, 64, data_roots=(), artifact_root=None)
    with DataFolder(tmp_path / "data") as folder, Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        print_addresses(Stack(options, folder, lambda line: None))
        full.flush()  # what an end of the process does
