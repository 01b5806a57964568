"""A long record is read in pieces: the same text or ids, in the memory of a text file."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data import DataError, load_dataset

TEXTS = [
    "the quick brown fox " * 30,
    "short",
    'quotes " and \\ and \n\t\u2028 and \ud7ff\ue000',
    "Grüße 世界 🙂🙃\U0010ffff" * 20,
    "\\u0041 \\\\" * 60,
]
OTHERS: list[Any] = [
    {"a": {"b": {"c": {"d": [1, [2, [3]]], "text": "inner"}}}},
    [{"text": "no"}, -1.5e-7, 12, True, None, "s\\" * 40],
    list(range(300)),
    None,
    0,
    "🙂" * 100,
]


@pytest.fixture
def config(make_config: Any) -> Any:
    return make_config(val_fraction=0)


@pytest.fixture(params=[1, 5, 64])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Files are read in so small blocks, and every record is a long one."""
    for module in ("json_text", "json_lines", "records", "long_rows", "tar_files"):
        name = f"app.training.data.{module}.LONG_CHARACTERS"
        monkeypatch.setattr(name, request.param, raising=False)
    for module in ("text_files", "json_lines", "records", "long_rows", "tar_files"):
        name = f"app.training.data.{module}.BLOCK_BYTES"
        monkeypatch.setattr(name, request.param, raising=False)
    return int(request.param)


def learned(path: Path, config: Any) -> str:
    train, _ = load_dataset(path, config)
    return bytes(train.tokens.ids[train.start : train.stop].tolist()).decode()


def records(chance: random.Random) -> list[dict[str, Any]]:
    made = []
    for text in TEXTS:
        items = [("text", text), *((f"k{i}", other) for i, other in enumerate(OTHERS))]
        chance.shuffle(items)
        made.append(dict(items))
    return made


@pytest.mark.parametrize("is_ascii", [True, False])
def test_pieces_of_a_record_are_its_text(
    tmp_path: Path, config: Any, blocks: int, is_ascii: bool
) -> None:
    made = records(random.Random(blocks))
    lines = [json.dumps(record, ensure_ascii=is_ascii) for record in made]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.json").write_text(json.dumps(made, ensure_ascii=is_ascii, indent=1))
    (tmp_path / "b.json").write_text("\n".join(lines))
    (tmp_path / "a16.jsonl").write_text("\n".join(lines), encoding="utf-16")
    for name in ("a.jsonl", "a.json", "b.json", "a16.jsonl"):
        assert learned(tmp_path / name, config) == "\n\n".join(TEXTS)


def test_pieces_of_an_array_are_its_ids(
    tmp_path: Path, config: Any, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [[7] * 90, [], [1, 22, 255], list(range(256))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"input_ids": i}) + "\n" for i in ids))
    ids_of_records = [i for each in ids for i in each]
    train, _ = load_dataset(tmp_path / "a.jsonl", config)
    assert train.tokens.ids.tolist() == ids_of_records
    monkeypatch.setattr("app.training.data.records._IDS_AT_ONCE", blocks)
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.uint16())):
        table = pa.table({"input_ids": pa.array([[9], *ids], kind)}).slice(1)
        pq.write_table(table, tmp_path / "a.parquet")
        with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as file:
            file.write_table(table)
        for name in ("a.parquet", "a.arrow"):
            train, _ = load_dataset(tmp_path / name, config)
            assert train.tokens.ids.tolist() == ids_of_records


def test_pieces_of_a_column_are_its_texts(tmp_path: Path, config: Any, blocks: int) -> None:
    dictionary = pa.dictionary(pa.int32(), pa.string())
    for kind in (pa.string(), pa.large_string(), pa.string_view(), dictionary):
        table = pa.table({"text": pa.array(["", *TEXTS]).cast(kind)}).slice(1)
        if kind != pa.string_view():
            pq.write_table(table, tmp_path / "a.parquet")
            assert learned(tmp_path / "a.parquet", config) == "\n\n".join(TEXTS)
        with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as file:
            file.write_table(table)
        assert learned(tmp_path / "a.arrow", config) == "\n\n".join(TEXTS)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_pieces_of_a_sample_are_its_text(tmp_path: Path, config: Any, blocks: int) -> None:
    files: dict[str, bytes] = {}
    for number, (text, record) in enumerate(zip(TEXTS, records(random.Random(1)), strict=True)):
        files[f"{number}a.json"] = json.dumps(record).encode()
        files[f"{number}b.txt"] = text.encode()
        files[f"{number}c.txt"] = text.encode("utf-16")
        files[f"{number}d.txt"] = b"the text of the JSON is taken"
        files[f"{number}d.json"] = json.dumps(record, ensure_ascii=False).encode()
    write_tar(tmp_path / "a.tar", files)
    assert learned(tmp_path / "a.tar", config) == "\n\n".join(t for t in TEXTS for _ in "abcd")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("2.json", b'{"text": "abc"', "sample 2 of .* is not JSON"),
        ("2.json", b'{"text": "abc"}{}', "sample 2 of .* is followed by"),
        ("2.json", b'{"text": "ab\xff"}', "sample 2 of .* is not text"),
        ("2.json", b'{"other": "abc"}', "sample 2 of .* has no `text`"),
        ("2.txt", b"abcdef\xc3", "sample 2 of .* is not text"),
        ("2.txt", b"abcdef\0", "sample 2 of .* holds a NUL character"),
        ("2.txt", b"a\0b", "sample 2 of .* holds a NUL character"),
    ],
)
def test_faults_of_long_samples_are_located(
    tmp_path: Path,
    config: Any,
    name: str,
    content: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.training.data.tar_files.LONG_CHARACTERS", 4)
    write_tar(tmp_path / "a.tar", {"1.txt": b"abcdef", name: content})
    with pytest.raises(DataError, match=said):
        load_dataset(tmp_path / "a.tar", config)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("blocks", [24, 64], indirect=True)
def test_pieces_of_a_row_are_its_text(
    tmp_path: Path, config: Any, blocks: int, name: str, quoting: Any
) -> None:
    texts = [*TEXTS, "\r\n", 'a"', '"' * 9, "x" * 15, "two\r\nlines"]
    with (tmp_path / name).open("w", newline="") as file:
        delimiter = "," if name == "a.csv" else "\t"
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
        writer.writerow(["a", "text", "b"])
        writer.writerows(
            [text[::-1], text, "" if number % 2 else '"🙂",' * 9]
            for number, text in enumerate(texts)
        )
    assert learned(tmp_path / name, config) == "\n\n".join(texts)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('"abcdefg\nb', "line 3 of .*unexpected end of data"),
        ('"abcdefg"h,i', "line 3 of .*',' is expected at 'h,i'"),
        ("abcdefgh\rij,k", "line 3 of .*',' is expected"),
        ("abcdefghij", "line 3 of .* has 1 values, and the header has 2"),
        ("abcdefg,h,i", "line 3 of .* has 3 values, and the header has 2"),
        ("abcdefg\0h,i", "holds a NUL"),
    ],
)
def test_faults_of_long_rows_are_located(
    tmp_path: Path, config: Any, row: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.long_rows.LONG_CHARACTERS", 9)
    (tmp_path / "a.csv").write_text("text,b\nx,y\n" + row, newline="")
    with pytest.raises(DataError, match=said):
        load_dataset(tmp_path / "a.csv", config)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"text": "a", "text": "b"}', "line 2 of .* has `text` 2 times"),
        ('{"other": "a"}', "line 2 of .* has no `text`"),
        ('{"text": null}', "line 2 of .* has another value in `text`"),
        ('{"text": ["a"]}', "`text` in line 2 of .* it must be a string"),
        ('{"text": "a\\ud83d"}', "line 2 of .* half of a surrogate pair"),
        ('{"text": "a\\ud83d\\u0041"}', "line 2 of .* half of a surrogate pair"),
        ('{"text": "a\\x"}', "line 2 of .* is not JSON"),
        ('{"text": "a', "line 2 of .* is not JSON"),
        ('{"text": "a"', "line 2 of .* is not JSON"),
        ('{"text" "a"}', "line 2 of .* is not JSON"),
        ('{"text": "a"} {"text": "b"}', "line 2 of .* is followed by"),
        ('{"x": nul, "text": "a"}', "line 2 of .* is not JSON"),
        ('{"x": [1,,2], "text": "a"}', "line 2 of .* is not JSON"),
        ('{"text": "a", "x": ' + "[" * 5000 + "]" * 5000 + "}", "line 2 of .* nested too deeply"),
    ],
)
def test_faults_of_long_records_are_located(
    tmp_path: Path, config: Any, record: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.json_lines.LONG_CHARACTERS", 4)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + record)
    with pytest.raises(DataError, match=said):
        load_dataset(tmp_path / "a.jsonl", config)


SCRIPT = """
import re, sys
from pathlib import Path
from app.training.data.formats import DataFile, form_of_name
from app.training.data.records import record_pieces
from app.training.data.sources import _text_pieces
def peak():  # KiB of this program; `ru_maxrss` would begin at that of the process which started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def read(name):
    data = DataFile(Path(name), form_of_name(Path(name)))
    pieces = _text_pieces(data.path) if data.form == "text" else record_pieces(data, "text", "text")
    before = peak()
    return sum(1 for _ in pieces), peak() - before
for name in sys.argv[1:]:
    print(read(name)[1])
"""
RECORD = random.Random(1).randbytes(9_000_000).hex()
"""17.2 MiB, which snappy does not compress."""


def write_records(path: Path, texts: list[str]) -> None:
    table = pa.table({"text": texts})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table)
    elif path.suffix == ".tar":
        write_tar(path, {f"{i}.txt": text.encode() for i, text in enumerate(texts)})
    elif path.suffix == ".csv":
        path.write_text("\n".join(["text", *texts, ""]))
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def added_by(path: Path, texts: list[str]) -> float:
    """MiB that reading a file of these texts adds to a process that has read a small one."""
    small = path.with_name(f"small{path.suffix}")
    write_records(small, ["a", "b"])
    write_records(path, texts)
    ran = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, small, path],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(ran.stdout.split()[-1]) / 1024


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "arrow", "parquet", "tar"])
def test_a_long_record_costs_the_memory_of_a_text_file(tmp_path: Path, form: str) -> None:
    """About its bytes at most, where each copy of it would add as many."""
    assert added_by(tmp_path / f"a.{form}", [RECORD]) < 22


def test_rows_of_one_group_cost_the_memory_of_a_few(tmp_path: Path) -> None:
    """They have 38 MiB, which a mapped file would keep in memory."""
    texts = [random.Random(row).randbytes(1000).hex() for row in range(20_000)]
    assert added_by(tmp_path / "a.parquet", texts) < 34
