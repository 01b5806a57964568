"""Files as people have them teach their text, or are refused; never the braces around it."""

from __future__ import annotations

import bz2
import csv
import gzip
import itertools
import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from app.training.data import DataError, load_dataset
from app.training.data.formats import ReadOptions
from app.training.data.survey import survey
from app.training.preflight import VisibleData, inspect_run

TEXTS = ["the quick brown fox", 'jumps, over "the"\nlazy dog', "héllo €"]
JOINED = "\n\n".join(TEXTS)


def learned(path: Path, config: Any) -> str:
    survey(path, ReadOptions(256))  # refuses nothing that can be read
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
    damaged.write_bytes(members[0] + b"damaged" + members[1][7:])
    assert f"{str(damaged)!r} cannot be decompressed" in refused(damaged, config)
    damaged.write_text(json_lines())
    assert "does not begin as such a file does" in refused(damaged, config)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_members_with_padding(tmp_path: Path, config: Any, ending: str) -> None:
    members = [PACKERS[ending](line.encode()) for line in json_lines().splitlines(keepends=True)]
    (tmp_path / f"a.jsonl{ending}").write_bytes(bytes(20_000).join(members) + bytes(20_000))
    assert learned(tmp_path / f"a.jsonl{ending}", config) == JOINED


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


def ids(count: int, dtype: str) -> Any:
    return np.frombuffer(("The quick brown fox. " * 20).encode()[:count], np.uint8).astype(dtype)


@pytest.mark.parametrize("dtype", ["<i4", "<u4", "<i8"])
@pytest.mark.parametrize("vocab_size", [256, 1 << 17])
def test_wide_ids_are_told_by_their_zeros(
    tmp_path: Path, make_config: Any, dtype: str, vocab_size: int, caplog: Any
) -> None:
    path = tmp_path / "a.bin"
    ids(400, dtype).tofile(path)
    config = make_config(vocab_size, val_fraction=0)
    assert load_dataset(path, config)[0].tokens.ids.tolist() == ids(400, dtype).tolist()
    wide = vocab_size == 256 or dtype == "<i8"
    assert ("set `token_dtype` to decide" in caplog.text) == wide
    found = inspect_run(config, VisibleData(path, tokenizer=True))
    assert ("set `token_dtype` to decide" in str(found.warnings)) == wide


def test_labels_among_wide_ids_do_not_hide_their_width(tmp_path: Path, config: Any) -> None:
    wide = ids(400, "<i4")
    wide[::50] = -100
    wide.tofile(tmp_path / "a.bin")
    assert "holds the token -100" in refused(tmp_path / "a.bin", config)


def test_narrow_ids_with_much_padding_stay_narrow(tmp_path: Path, config: Any) -> None:
    chance = np.random.default_rng(1)
    padded = chance.integers(0, 256, 4000) * (chance.random(4000) < 0.05)
    padded.astype("<u2").tofile(tmp_path / "a.bin")
    assert load_dataset(tmp_path / "a.bin", config)[0].tokens.count == 4000


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
def test_token_dtype_decides(tmp_path: Path, make_config: Any, dtype: str) -> None:
    config = make_config(val_fraction=0, token_dtype=dtype)
    ids(41, dtype).tofile(tmp_path / "a.bin")
    assert load_dataset(tmp_path / "a.bin", config)[0].tokens.ids.tolist() == ids(41, "u2").tolist()
    (tmp_path / "shards").mkdir()
    for name in ("0.bin", "1.bin"):
        ids(41, dtype).tofile(tmp_path / "shards" / name)
    assert load_dataset(tmp_path / "shards", config)[0].tokens.count == 82


def test_bytes_of_text_are_not_taken_for_wider_ids(tmp_path: Path, make_config: Any) -> None:
    ids(400, "u1").tofile(tmp_path / "a.bin")
    message = refused(tmp_path / "a.bin", make_config(50257))
    assert "holds printable characters alone" in message
    assert "set `token_dtype` to uint8" in message


def test_the_index_of_megatron_tells_the_type(tmp_path: Path, config: Any) -> None:
    ids(9, "<i4").tofile(tmp_path / "a.bin")  # too few for zeros to tell
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, 1, 2)
    (tmp_path / "a.idx").write_bytes(header)
    assert load_dataset(tmp_path / "a.bin", config)[0].tokens.ids.tolist() == ids(9, "u2").tolist()
    (tmp_path / "a.idx").write_bytes(header.replace(b"\x04", b"\x07"))
    assert "names version 1 and type 7" in refused(tmp_path / "a.bin", config)


@pytest.mark.parametrize(
    ("start", "said"), [(b"LITPKDS\x01", "packed by litgpt"), (b"PK\x03\x04", "a zip archive")]
)
def test_other_formats_named_bin(tmp_path: Path, config: Any, start: bytes, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(start + bytes(range(100)))
    assert f"{str(tmp_path / 'a.bin')!r} is {said}" in refused(tmp_path / "a.bin", config)


def test_a_folder_of_litdata_is_refused_by_name(tmp_path: Path, make_config: Any) -> None:
    items = [b"\x01\x00\x02\x00", b"\x03\x00"]  # as `litdata.optimize` writes a chunk
    first = 4 * (len(items) + 2)
    (tmp_path / "index.json").write_text('{"chunks": [{"filename": "chunk-0-0.bin"}]}')
    with_items, with_rows = [first, first + 4, first + 6], [first] * 3
    for ends, config in itertools.product(
        (with_items, with_rows), (make_config(), make_config(token_dtype="uint16"))
    ):
        chunk = np.array([len(items), *ends], "<u4").tobytes() + b"".join(items)
        (tmp_path / "chunk-0-0.bin").write_bytes(chunk)
        message = refused(tmp_path, config)
        assert "chunk-0-0.bin' is a chunk of LitData, with a table of its items" in message
        assert "or text as JSON lines" in message


def write_arrow(path: Path, table: Any, new: Callable[..., Any]) -> None:
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as out:
        out.write_table(table)


KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_string_column(tmp_path: Path, config: Any, kind: Any) -> None:
    column = pa.array(TEXTS).cast(kind) if kind == pa.string_view() else pa.array(TEXTS, kind)
    table = pa.table({"text": column})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    write_arrow(tmp_path / "a.arrow", table, pa.ipc.new_stream)
    for name in ("a.parquet", "a.arrow"):
        assert learned(tmp_path / name, config) == JOINED


def test_a_column_of_another_name_and_within_structs(tmp_path: Path, make_config: Any) -> None:
    rows = [{"id": 1, "raw": {"page": {"body": text}}, "text": "not this"} for text in TEXTS]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    write_arrow(tmp_path / "a.arrow", table, pa.ipc.new_file)
    nested = make_config(val_fraction=0, text_column="raw.page.body")
    for name in ("a.parquet", "a.jsonl", "a.json", "a.arrow"):
        found = inspect_run(nested, VisibleData(tmp_path / name, tokenizer=True))
        assert found.problems == []
        tokens = load_dataset(tmp_path / name, nested)[0].tokens
        assert bytes(tokens.ids.tolist()).decode() == JOINED
        message = refused(tmp_path / name, make_config(text_column="raw.page.title"))
        assert "it must have `raw.page.title`, a conversation" in message
        assert "'raw.page.body'" in message
    (tmp_path / "a.csv").write_text("body,text\nthe text,not this\n")
    config = make_config(val_fraction=0, text_column="body")
    assert bytes(load_dataset(tmp_path / "a.csv", config)[0].tokens.ids.tolist()) == b"the text"


def test_a_null_within_a_struct_or_a_dictionary_is_named(tmp_path: Path, make_config: Any) -> None:
    config = make_config(text_column="a.text")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"a": {"text": "x"}}, {"a": None}]), path)
    assert f"`a.text` in row 2 of {str(path)!r} is missing" in refused(path, config)
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["x", None]))
    write_arrow(tmp_path / "a.arrow", pa.table({"text": column}), pa.ipc.new_stream)
    assert "`text` in row 2 of" in refused(tmp_path / "a.arrow", make_config())
