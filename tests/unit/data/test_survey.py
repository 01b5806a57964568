"""A look at data tells what is certain, and never refuses what loading would take."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data import DataError, load_dataset
from app.training.data.formats import ReadOptions
from app.training.data.parquet_footer import read_footer
from app.training.data.survey import Survey, survey
from app.training.preflight import VisibleData, inspect_run


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        survey(path, ReadOptions(256))
    return str(error.value)


def test_what_is_known_of_each_form(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("héllo")
    assert survey(tmp_path / "a.txt", ReadOptions(256)) == Survey("text", 6, exact=True)
    np.arange(9, dtype="<u2").tofile(tmp_path / "a.bin")
    assert survey(tmp_path / "a.bin", ReadOptions(256)) == Survey("input_ids", 9, exact=True)
    np.save(tmp_path / "a.npy", np.arange(8).reshape(2, 4))
    assert survey(tmp_path / "a.npy", ReadOptions(256)) == Survey("input_ids", 8, exact=True)
    (tmp_path / "a.jsonl").write_text('\n{"text": "abc"}\n')
    assert survey(tmp_path / "a.jsonl", ReadOptions(256)) == Survey("text", 17)
    (tmp_path / "b.jsonl").write_text('{"input_ids": [1, 2]}')
    assert survey(tmp_path / "b.jsonl", ReadOptions(256)) == Survey("input_ids", 10)
    pq.write_table(pa.table({"id": [1], "input_ids": [[1, 2]]}), tmp_path / "a.parquet")
    assert survey(tmp_path / "a.parquet", ReadOptions(256)) == Survey("input_ids")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("abc")
    (folder / "b.md").write_text("de")
    (folder / "c.png").write_bytes(b"\x89PNG")
    warning = (
        f"1 files in {str(folder)!r} are skipped: {str(folder / 'c.png')!r} (not named as data)"
    )
    assert survey(folder, ReadOptions(256)) == Survey("text", 7, warnings=(warning,))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "\n\n", "is empty; it must hold records"),
        ("a.jsonl", '{"content": "a"}', "has the columns ['content']"),
        ("a.jsonl", "[" * 20_000, "line 1 of"),
        ("a.parquet", "not parquet", "cannot be read as Parquet"),
        ("a.npy", "PK\x03\x04", "cannot be read as .npy"),
        ("a.bin", "", "is empty; it must hold token ids"),
        ("a.exe", "x", "has the extension '.exe'"),
    ],
)
def test_what_is_certain_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    assert said in refused(tmp_path / name)


def test_folders_with_nothing_in_them(tmp_path: Path) -> None:
    empty, skipped, mixed = tmp_path / "empty", tmp_path / "skipped", tmp_path / "mixed"
    for folder in (empty, skipped, mixed):
        folder.mkdir()
    assert "without usable files (it is empty)" in refused(empty)
    (skipped / "a.txt").write_bytes(b"caf\xe9")
    (skipped / "b.png").write_bytes(b"\x89PNG")
    os.mkfifo(skipped / "c.txt")
    message = refused(skipped)
    for name in ("a.txt", "b.png", "c.txt"):
        assert f"{str(skipped / name)!r} (" in message
    (mixed / "a.jsonl").write_text('{"text": "a"}')
    (mixed / "b.jsonl").write_text('{"input_ids": [1]}')
    assert "mixes text and `input_ids`" in refused(mixed)


def test_the_footer_of_parquet_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    tables = [
        pa.table({"text": ["a", "b"]}),
        pa.table({"id": [1], "input_ids": [[1, 2]], "text": ["é"]}),
        pa.table({"meta": [{"url": "x", "tags": ["a"]}], "n": [1.5], "text": ["a"]}),
        pa.table({f"column {i}": [i] for i in range(300)} | {"täxt": [""]}),
        pa.table({"text": pa.array([], pa.string())}),
    ]
    path = tmp_path / "a.parquet"
    for table in tables:
        for version in ("1.0", "2.6"):
            pq.write_table(table, path, version=version)
            footer = read_footer(path)
            assert footer is not None
            assert footer.columns == tuple(table.column_names)
            assert footer.rows == table.num_rows


def test_a_footer_of_nonsense_is_left_to_the_worker(tmp_path: Path) -> None:
    """Whatever the bytes: no other error, and no long work."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1], "input_ids": [[1, 2]]}), path)
    good = path.read_bytes()
    start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    chance = random.Random(5)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(start, len(good) - 8)] = chance.randrange(256)
        path.write_bytes(data)
        read_footer(path)


def test_a_look_is_never_stricter_than_loading(tmp_path: Path, make_config: Any) -> None:
    """Random small datasets of every form: what loads was not refused before."""
    chance = random.Random(3)
    loaded = 0
    for i in range(150):
        path = tmp_path / str(i)
        path = random_dataset(chance, path)
        config = make_config(
            batch_size=chance.choice([1, 4]),
            sequence_length=chance.choice([1, 4, 30]),
            val_fraction=chance.choice([0, 0.1, 0.6]),
            tokenizer=chance.choice(["byte", "char"]),
        )
        found = inspect_run(config, VisibleData(path, tokenizer=True))
        try:
            load_dataset(path, config)
        except DataError:
            continue
        loaded += 1
        assert found.problems == [], path
    assert loaded > 40


def random_dataset(chance: random.Random, path: Path) -> Path:
    texts = ["".join(chance.choices("ab é\n", k=chance.randint(0, 40))) for _ in range(3)]
    ids = [[chance.randrange(200) for _ in range(chance.randint(0, 9))] for _ in range(4)]
    form = chance.choice(["txt", "jsonl", "ids.jsonl", "parquet", "npy", "bin", "folder"])
    path = path.with_suffix(f".{form}")
    if form == "txt":
        path.write_text(texts[0])
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif form == "ids.jsonl":
        path.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in ids))
    elif form == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif form == "npy":
        np.save(path, np.array(ids[0], dtype="<u2"))
    elif form == "bin":
        np.array(ids[0], dtype="<u2").tofile(path)
    else:
        path.mkdir()
        for name, text in zip(("a.txt", "b.md", "c.xyz"), texts, strict=True):
            (path / name).write_text(text)
    return path
