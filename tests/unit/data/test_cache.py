"""The cache: hit, race, damage, full disk, bounded memory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.training import progress
from app.training.data import DataError, load_dataset
from app.training.data.cache import cache_directory, get_or_create
from app.training.data.facts import content_digest, memoized
from app.training.reading import PathNotAllowedError
from app.training.tokenizer import ByteTokenizer

TEXT = "to be or not to be\n" * 20


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    return path


def entries(cache: Path) -> list[Path]:
    return [path for path in (cache / "tokens").iterdir() if path.suffix != ".lock"]


def test_a_hit_does_not_tokenize_again(
    text_file: Path, cache: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
):
    first, _ = load_dataset(text_file, make_config())
    copy = text_file.with_name("copy.txt")  # content is the key, not the name
    copy.write_text(TEXT)

    def encode(self: ByteTokenizer, text: str) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(ByteTokenizer, "encode", encode)
    second, _ = load_dataset(copy, make_config())
    assert first.tokens.path == second.tokens.path
    assert len(entries(cache)) == 1


def test_other_content_or_tokenizer_is_another_entry(
    text_file: Path, cache: Path, make_config: Any
):
    load_dataset(text_file, make_config())
    load_dataset(text_file, make_config(tokenizer="char"))
    text_file.write_text(TEXT + "!")
    train, _ = load_dataset(text_file, make_config(tokenizer="char", val_fraction=0))
    assert train.tokenizer is not None
    assert train.tokenizer.decode(train.tokens.ids.tolist()) == TEXT + "!"
    assert len(entries(cache)) == 3


@pytest.mark.parametrize("damage", ["cut", "metadata", "missing"])
def test_a_damaged_entry_is_made_anew(
    text_file: Path, cache: Path, make_config: Any, damage: str, caplog: pytest.LogCaptureFixture
):
    load_dataset(text_file, make_config())
    (entry,) = entries(cache)
    if damage == "cut":
        (entry / "tokens.bin").write_bytes(b"12")
    elif damage == "metadata":
        (entry / "entry.json").write_text("{}")
    else:
        (entry / "tokens.bin").unlink()
    train, _ = load_dataset(text_file, make_config(val_fraction=0))
    assert bytes(train.tokens.ids.tolist()).decode() == TEXT
    if damage != "missing":
        assert f"the cache entry {entry} is damaged" in caplog.text


def test_a_failed_write_leaves_nothing_behind(cache: Path):
    def full_disk() -> Any:
        def arrays() -> Any:
            yield np.arange(3)
            raise OSError(errno.ENOSPC, "No space left on device")

        return arrays(), {}

    with pytest.raises(DataError, match=r"No space left on device\); .* free space, or set"):
        get_or_create(cache, "a" * 64, "<u2", full_disk)
    assert entries(cache) == []


def test_what_a_killed_process_left_is_cleared_away(text_file: Path, cache: Path, make_config: Any):
    load_dataset(text_file, make_config())
    (entry,) = entries(cache)
    stale = entry.with_name(f"{entry.name[:16]}.abc.tmp")
    entry.rename(stale)
    load_dataset(text_file, make_config())
    assert entries(cache) == [entry]


RACER = """
import sys
from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.transformer.config import TransformerConfig
model = TransformerConfig(vocab_size=256, hidden_size=8, num_layers=1, num_heads=1)
config = TrainingConfig(model_config=model, sequence_length=4, tokenizer="char")
sys.stdin.read(1)  # all start together
train, _ = load_dataset(sys.argv[1], config)
print(train.fingerprint, int(train.tokens.ids.sum()), train.tokens.count)
"""


def test_processes_that_tokenize_at_once_agree(tmp_path: Path, cache: Path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT * 20_000)
    racers = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", RACER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("x")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert answers[0] == answers[1]
    assert answers[0].split()[2] == str(len(TEXT) * 20_000)
    assert len(entries(cache)) == 1


METER = """
import re, sys, torch
from pathlib import Path
from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.transformer.config import TransformerConfig
model = TransformerConfig(vocab_size=256, hidden_size=8, num_layers=1, num_heads=1)
config = TrainingConfig(model_config=model, sequence_length=64, tokenizer=sys.argv[2])
load_dataset(sys.argv[3], config)  # a small file first: imports and buffers are not counted
def peak():  # of this program: `ru_maxrss` begins at that of the process which started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
train, _ = load_dataset(sys.argv[1], config)
print(peak() - before, train.tokens.count)
"""


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
def test_tokenizing_takes_constant_memory(tmp_path: Path, tokenizer: str):
    size = 64 << 20
    big, small = tmp_path / "big.txt", tmp_path / "small.txt"
    small.write_text(TEXT * 200_000)  # several pieces
    with big.open("w") as file:
        for _ in range(size >> 20):
            file.write((TEXT * 2760)[: 1 << 20])
    command = [sys.executable, "-P", "-c", METER, str(big), tokenizer, str(small)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    grown_kib, count = map(int, result.stdout.split())
    assert count == size
    assert grown_kib < 20 << 10  # under a third of the text, a sixth of its ids


def test_the_place_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "mine"))
    assert cache_directory(tmp_path) == tmp_path / "mine"
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "file" / "impossible"))
    assert cache_directory(tmp_path) == tmp_path / ".training_engine_cache"
    assert "impossible is not writable; tokens are cached in" in caplog.text
    monkeypatch.delenv("TRAINING_ENGINE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory(tmp_path) == tmp_path / ".cache" / "training_engine"


def test_facts_about_a_large_file_last_until_it_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.training.data.facts._LEAST_BYTES", 0)
    monkeypatch.setattr("app.training.data.facts._CLOCK_MARGIN_SECONDS", -1)
    path = tmp_path / "a.txt"
    path.write_text("one")
    asked = []

    def fact() -> str:
        asked.append(1)
        return str(len(asked))

    assert [memoized(path, cache, "n", fact) for _ in range(3)] == ["1", "1", "1"]
    stamp = path.stat().st_mtime_ns
    path.write_text("two")
    os.utime(path, ns=(stamp, stamp))  # same size, same mtime: ctime still tells
    assert memoized(path, cache, "n", fact) == "2"
    assert content_digest(path, cache) == content_digest(path, cache)


def test_the_entry_holds_the_tokenizer(text_file: Path, cache: Path, make_config: Any):
    load_dataset(text_file, make_config(tokenizer="char"))
    (entry,) = entries(cache)
    stored = json.loads((entry / "entry.json").read_text())
    assert stored["extra"]["tokenizer"]["characters"] == "\n benort"


def as_user(user: int, group: int, act: Callable[[], object]) -> None:
    """Run `act` in a forked process of another user, whose umask keeps everything to itself."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([group])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.umask(0o077)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two users")
@pytest.mark.parametrize("mode", [0o2770, 0o777])
def test_two_users_share_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    # pytest's own folders are closed to other users.
    shared = Path(tempfile.mkdtemp())
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(shared))
    os.chown(shared, 0, 54320)
    shared.chmod(mode)
    large = shared / "large.txt"
    large.write_bytes(b"x")
    monkeypatch.setattr("app.training.data.facts._LEAST_BYTES", 1)
    os.utime(large, (1, 1))

    def tokenize(key: str, value: int) -> None:
        directory = cache_directory(shared)
        assert directory == shared
        array = np.array([value], dtype="<u2")
        entry = get_or_create(directory, key * 64, "<u2", lambda: (iter([array]), {}))
        assert np.fromfile(entry.path, dtype="<u2").tolist() == [1 if key == "a" else value]

    def remember(fact: str) -> None:
        monkeypatch.setattr(time, "time", lambda: os.stat(large).st_ctime + 10)
        assert memoized(large, shared, "fact", lambda: fact) == "first"

    try:
        as_user(54321, 54320, lambda: (tokenize("a", 1), remember("first")))
        as_user(54322, 54320, lambda: (tokenize("a", 2), tokenize("b", 3), remember("second")))
        made = list((shared / "tokens").rglob("*"))
        assert {path.stat().st_mode & 0o7777 for path in made if path.is_dir()} == {mode}
        assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {mode & 0o666}
    finally:
        shutil.rmtree(shared)


def test_a_cache_of_ones_own_is_closed_to_others(
    text_file: Path, make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAINING_ENGINE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    load_dataset(text_file, make_config())
    assert (tmp_path / ".cache/training_engine").stat().st_mode & 0o777 == 0o700


def test_a_second_start_reads_no_file_of_a_folder_as_a_whole(
    tmp_path: Path,
    cache: Path,
    make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("app.training.data.facts._CLOCK_MARGIN_SECONDS", -1)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name} to be or not to be\n" * 5000)
    first = load_dataset(tmp_path, make_config())[0]
    heard: list[int] = []
    with progress.reporting_to(heard.append):
        second = load_dataset(tmp_path, make_config())[0]
    assert sum(heard) == 0
    assert second.fingerprint == first.fingerprint
    (tmp_path / "b.txt").write_text("b to be or not to BE\n" * 5000)
    assert load_dataset(tmp_path, make_config())[0].fingerprint != first.fingerprint
    (tmp_path / "c.txt").write_bytes(b"\xff" * 50_000)
    load_dataset(tmp_path, make_config())
    assert "c.txt' (not text in UTF-8" in caplog.text


def test_the_facts_of_a_folder_are_in_one_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.facts._CLOCK_MARGIN_SECONDS", -1)
    monkeypatch.setattr("app.training.data.facts._LEAST_BYTES", 0)
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for path in paths:
        path.write_text(path.name)
        assert memoized(path, cache, "name", lambda: path.name) == path.name  # noqa: B023
    (facts,) = (cache / "facts").iterdir()
    # A crash cut off the last line; another process goes on behind it.
    whole = facts.read_bytes()
    facts.write_bytes(whole[:-3])
    monkeypatch.setattr("app.training.data.facts._known_of", {})
    found = [memoized(path, cache, "name", lambda: "asked") for path in paths]
    assert found == ["0.txt", "1.txt", "asked"]
    monkeypatch.setattr("app.training.data.facts._known_of", {})
    found = [memoized(path, cache, "name", lambda: "again") for path in paths]
    assert found == ["0.txt", "1.txt", "asked"]


def test_a_fact_is_not_told_of_a_file_that_may_not_be_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.facts._CLOCK_MARGIN_SECONDS", -1)
    secret = tmp_path / "secret.txt"
    secret.write_text("to be or not to be\n" * 5000)
    content_digest(secret, cache)
    monkeypatch.setattr("app.training.reading._roots", (tmp_path / "allowed",))
    with pytest.raises(PathNotAllowedError):
        content_digest(secret, cache)
