"""What lies beside data is not learned: tokenizers, notes of systems, pointers of Git LFS."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from app.training.data import DataError, load_dataset
from app.training.data.formats import ReadOptions
from app.training.data.survey import survey

TEXT = "the training text. " * 4
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a2146' * 8}\nsize 1234567\n"
TOKENIZER = {
    "tokenizer.json": json.dumps({"version": "1.0", "model": {"vocab": {"text": 1}}}),
    "tokenizer_config.json": json.dumps({"eos_token": "</s>"}),
    "special_tokens_map.json": "{}",
    "added_tokens.json": json.dumps({"text": 5}),
    "vocab.json": json.dumps({"text": 1, "input_ids": 2}),
    "merges.txt": "#version: 0.2\nt e\n" * 99,
    "config.json": json.dumps({"vocab_size": 9}),
}


@pytest.fixture
def config(make_config: Any) -> Any:
    return make_config(val_fraction=0)


def learned(path: Path, config: Any) -> str:
    train, _ = load_dataset(path, config)
    return bytes(train.tokens.ids[train.start : train.stop].tolist()).decode()


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as early:
        survey(path, ReadOptions.of(config))
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    assert str(early.value) == str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["corpus.txt", "train.jsonl"])
def test_a_tokenizer_beside_the_data_is_not_learned(tmp_path: Path, config: Any, name: str) -> None:
    """Its vocabulary may have tokens with the names of fields."""
    for other, content in TOKENIZER.items():
        (tmp_path / other).write_text(content)
    content = json.dumps({"text": TEXT}) if name.endswith("jsonl") else TEXT
    (tmp_path / name).write_text(content)
    assert learned(tmp_path, config) == TEXT
    warning = " ".join(survey(tmp_path, ReadOptions.of(config)).warnings)
    assert all(f"{str(tmp_path / other)!r} (of a tokenizer)" in warning for other in TOKENIZER)


def test_files_of_such_names_without_a_tokenizer_are_data(tmp_path: Path, config: Any) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "vocab.txt").write_text("a word")
    assert learned(tmp_path, config) == '{"a": 1}\n\na note\n\na word'


def test_a_note_of_windows_is_not_learned(tmp_path: Path, config: Any) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "desktop.ini").write_text("[.ShellClassInfo]\r\n", encoding="utf-16")
    assert learned(tmp_path, config) == TEXT


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.parquet", "a.bin"])
def test_a_pointer_of_git_lfs_is_no_data(tmp_path: Path, config: Any, name: str) -> None:
    """A clone without Git LFS has 130 bytes of text in place of each file."""
    (tmp_path / name).write_text(POINTER)
    message = refused(tmp_path / name, config)
    assert f"{str(tmp_path / name)!r} is a pointer of Git LFS" in message
    assert "run `git lfs pull` in the repository" in message
    (tmp_path / f"b{Path(name).suffix}").write_text(TEXT)
    assert refused(tmp_path, config) == message


def test_archives_say_what_to_do(tmp_path: Path, config: Any) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    assert "is an archive, or compressed in a way that is not read" in refused(
        tmp_path / "a.zip", config
    )
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("arxiv/0.jsonl"), io.BytesIO())
    assert "a.tar' is an archive without .txt and .json; unpack it" in refused(
        tmp_path / "a.tar", config
    )
