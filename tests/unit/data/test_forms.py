"""Files as people have them teach their text, or are refused; never the braces around it."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from app.training.data import DataError, load_dataset
from app.training.data.survey import survey

TEXTS = ["the quick brown fox", 'jumps, over "the"\nlazy dog', "héllo €"]
JOINED = "\n\n".join(TEXTS)


def learned(path: Path, config: Any) -> str:
    survey(path, 256)  # refuses nothing that can be read
    train, _ = load_dataset(path, config)
    return bytes(train.tokens.ids[train.start : train.stop].tolist()).decode()


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    return str(error.value)


@pytest.fixture
def config(make_config: Any) -> Any:
    return make_config(val_fraction=0)


def json_lines() -> str:
    return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS))


RECORDS: dict[str, str] = {
    "lines.json": json_lines(),
    "array.json": json.dumps([{"text": text} for text in TEXTS]),
    "pretty.json": json.dumps([{"text": text} for text in TEXTS], indent=2),
    "sequence.json": "\n".join(json.dumps({"text": text}, indent=1) for text in TEXTS),
    "lines.ndjson": json_lines(),
    "marked.jsonl": "\ufeff" + json_lines(),
}


@pytest.mark.parametrize("name", RECORDS)
def test_json_is_read_as_records(tmp_path: Path, config: Any, name: str) -> None:
    (tmp_path / name).write_text(RECORDS[name])
    assert learned(tmp_path / name, config) == JOINED


def test_long_records_of_a_json_array(tmp_path: Path, config: Any) -> None:
    texts = ["ab" * 900_000, "c", "d" * 3_000_000, "e"]  # longer than a block, and not
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": text} for text in texts], indent=1))
    assert learned(path, config) == "\n\n".join(texts)


def test_one_object_a_file(tmp_path: Path, config: Any) -> None:
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.json").write_text(json.dumps({"text": text}, indent=2))
    assert learned(tmp_path, config) == JOINED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"question": "a", "answer": "b"}]', "has the columns ['answer', 'question']"),
        ('{"version": 1, "data": []}', "has the columns ['data', 'version']"),
        ('[{"text": "a"}, 5]', "record 2 of {} begins with '5'"),
        ('[{"text": "a"} {"text": "b"}]', "record 1 of {} is not followed by a comma"),
        ('[{"text": "a"}', "ends within an array"),
        ('[{"text": "a"}] x', "is followed by more than its array"),
        ('{"text": "a"} {"text": ', "record 2 of {} is not JSON"),
        ('{"text": "a"} {"text": "b}', "record 2 of {} is not JSON (Unterminated string"),
        ('{"text": {"0": "a"}}', "`text` in record 1 of {} is {{'0': 'a'}}"),
    ],
)
def test_json_that_is_no_sequence_of_records(
    tmp_path: Path, config: Any, content: str, said: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert said.format(repr(str(path))) in refused(path, config)


def write_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "text", "url"])
        writer.writerows((i, text, "http://x") for i, text in enumerate(TEXTS))


def test_tables_are_read_by_their_column(tmp_path: Path, config: Any) -> None:
    write_csv(tmp_path / "a.csv")
    write_csv(tmp_path / "b.tsv", "\t")
    write_csv(tmp_path / "c.csv", ";")
    pa_csv.write_csv(pa.table({"n": [1, 2, 3], "text": TEXTS}), tmp_path / "d.csv")
    for name in ("a.csv", "b.tsv", "c.csv", "d.csv"):
        assert learned(tmp_path / name, config) == JOINED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,body\n1,a\n", "has the columns ['body', 'id']; it must have `text`"),
        ("id,text\n1,a,b\n", "line 2 of {} has 3 values, and the header has 2 names"),
        ('id,text\n1,"a\n2,b\n', "of {} is not a row of values (unexpected end of data)"),
        ("\n", "has the columns []"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, config: Any, content: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert said.format(repr(str(path))) in refused(path, config)


def zstd(data: bytes) -> bytes:
    packed = pa.Codec("zstd").compress(data, asbytes=True)
    assert isinstance(packed, bytes)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_files_of_several_members(tmp_path: Path, config: Any, ending: str) -> None:
    pack = PACKERS[ending]
    lines = json_lines().splitlines(keepends=True)
    members = [pack(line.encode()) for line in lines]
    for name in ("a.jsonl", "a.json"):
        (tmp_path / (name + ending)).write_bytes(b"".join(members))
        assert learned(tmp_path / (name + ending), config) == JOINED
    (tmp_path / "a.txt").write_bytes(pack(JOINED.encode()))  # told by content
    assert learned(tmp_path / "a.txt", config) == JOINED
    damaged = tmp_path / f"b.jsonl{ending}"
    damaged.write_bytes(b"".join(members)[:-5])
    assert f"{str(damaged)!r} cannot be decompressed" in refused(damaged, config)
    damaged.write_text(json_lines())
    assert "does not begin as such a file does" in refused(damaged, config)


def test_a_folder_of_compressed_shards(tmp_path: Path, config: Any) -> None:
    for i, line in enumerate(json_lines().splitlines()):
        (tmp_path / f"{i}.json.gz").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "README.md").write_text("a card")
    assert learned(tmp_path, config) == JOINED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_every_encoding_of_unicode(tmp_path: Path, config: Any, encoding: str) -> None:
    text = "The quick brown fox.\r\n" * 60 + "€"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert learned(tmp_path / "a.txt", config) == text
    (tmp_path / "a.jsonl").write_bytes(json_lines().encode(encoding))
    assert learned(tmp_path / "a.jsonl", config) == JOINED
    (tmp_path / "a.csv").write_bytes(f"id,text\n1,{text[:20]}\n".encode(encoding))
    assert learned(tmp_path / "a.csv", config) == text[:20]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("caf\xe9 au lait".encode("latin-1"), "is not UTF-8: byte 3 is 0xe9; text must be"),
        (b"a\0b", "holds a NUL character"),
        ("text".encode("utf-32"), "is UTF-32; "),
        ("\xff\xfet\0e\0x\0t\0".encode(), "holds a NUL character"),  # UTF-16 taken for Latin-1
        ("text".encode("utf-16")[:-1], "is not UTF-16: byte 8 is 0x74"),
    ],
)
def test_what_is_not_text_is_refused(
    tmp_path: Path, config: Any, content: bytes, said: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    message = refused(path, config)
    assert said in message
    assert "latin1" not in message  # it would turn any bytes into text
