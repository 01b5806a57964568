"""Whatever is wrong with a record is one `DataError` with the file and the line or row."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from app.training import progress
from app.training.data import DataError, load_dataset
from app.training.data.array_files import read_layout
from app.training.data.formats import ReadOptions

GOOD = {"text": "a good record"}


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[" * 20_000 + "]" * 20_000, "is nested too deeply to be read"),
        ('{"text": ' + "[" * 20_000, "is nested too deeply to be read"),
        (r'{"text": "half \ud800 a pair"}', r"holds '\ud800' at character 5, half of a surrogate"),
        (b'{"text": "\xed\xa0\x80"}', "is not JSON in UTF-8"),
        ('{"text": null}', "is missing; it must be a string"),
        ('{"text": ["a"]}', "is ['a']; it must be a string"),
        ("[1, 2]", "is a list; each line must be one JSON object"),
        ('{"text": "cut', "is not JSON in UTF-8"),
    ],
)
def test_the_line_of_a_bad_text_is_named(
    tmp_path: Path, make_config: Any, line: str | bytes, said: str
) -> None:
    path = tmp_path / "a.jsonl"
    bad = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + bad + b"\n")
    message = refused(path, make_config())
    assert f"line 3 of {str(path)!r}" in message
    assert said in message


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("[1, null]", "it must be a list of integers"),
        ("[1, true]", "it must be a list of integers"),
        ("[1, 1e2]", "it must be a list of integers"),
        ("[1, NaN]", "it must be a list of integers"),
        ("[1, -100]", "holds the token -100; ids must be >= 0"),
        ("[1, 4294967296]", "holds the token 4294967296; ids must be below 2^32"),
        (f"[1, {10**30}]", "ids must be below 2^32"),
    ],
)
def test_the_line_of_bad_ids_is_named(
    tmp_path: Path, make_config: Any, ids: str, said: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"input_ids": [5]}}\n{{"input_ids": {ids}}}\n')
    message = refused(path, make_config())
    assert f"line 2 of {str(path)!r}" in message
    assert said in message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pa.array([[1, 2], [3, None, 4]]), "position 1 of `input_ids` in {} is null"),
        (pa.array([[1, 2], None]), "`input_ids` in {} is missing"),
        (pa.array([[1, 2], [-1]]), "{} holds the token -1; ids must be >= 0"),
        (pa.array([[1], [2**63]], pa.list_(pa.uint64())), "ids must be below 2^32"),
        (pa.array([[1], [2**32]]), "{} holds the token 4294967296"),
    ],
)
def test_the_row_of_bad_ids_is_named(
    tmp_path: Path, make_config: Any, rows: Any, said: str
) -> None:
    path = tmp_path / "a.parquet"
    good = pa.array([[7]] * 1500, rows.type)  # the bad row is not in the first batch
    pq.write_table(pa.table({"input_ids": pa.chunked_array([good, rows])}), path)
    message = refused(path, make_config())
    assert said.format(f"row 1502 of {str(path)!r}") in message
    assert "row 1502" in message


def test_the_row_of_a_bad_text_is_named(tmp_path: Path, make_config: Any) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"good", b"caf\xe9"]).cast(pa.binary())
    not_utf8 = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    pq.write_table(pa.table({"text": not_utf8}), path)
    assert f"`text` in row 2 of {str(path)!r} is not UTF-8: byte 3" in refused(path, make_config())


def test_a_damaged_page_of_parquet_is_the_files_fault(tmp_path: Path, make_config: Any) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i} some text" for i in range(3000)]
    pq.write_table(pa.table({"text": texts}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[100:200] = bytes(100)
    path.write_bytes(data)
    message = refused(path, make_config())
    assert f"column `text` of {str(path)!r} cannot be read past row 0" in message


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 cut off", r"it begins with b'PK\x03\x04 cut', not with b'\x93NUMPY'"),
        (b"\x80\x04\x95", "it begins with"),
        (b"\x93NUMPY\x09\x00\x00\x00", "it begins with"),
        (b"\x93NUMPY\x01\x00\xff", "its header is cut off"),
        (npy(b"{'descr': '<u2', 'fortran_order': False, "), "its header is \"{'descr'"),
        (npy(b"(" * 5000), "its header is '((("),
        (
            npy(b"{'descr': '<u2', 'fortran_order': False, 'shape': (9,), }", b"1234"),
            "announces 9 ids",
        ),
        (npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "pickled objects"),
        (
            npy(b"{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (1,), }"),
            "its header is",
        ),
    ],
)
def test_a_file_that_is_no_npy(tmp_path: Path, make_config: Any, content: bytes, said: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    message = refused(path, make_config())
    assert f"{str(path)!r} cannot be read as .npy: " in message
    assert said in message


def test_an_archive_named_npy(tmp_path: Path, make_config: Any) -> None:
    path = tmp_path / "a.npy"
    write_zip(path)
    assert "cannot be read as .npy: it begins with b'PK" in refused(path, make_config())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (0,)])
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "|u1", "<i8"])
def test_the_layout_of_an_array_is_numpys(
    tmp_path: Path, version: tuple[int, int], shape: tuple[int, ...], dtype: str
) -> None:
    path = tmp_path / "a.npy"
    array = np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    layout = read_layout(path, ReadOptions(256))
    assert (np.dtype(layout.dtype), layout.count) == (array.dtype, array.size)
    assert layout.offset == path.stat().st_size - array.nbytes


def test_links_that_lead_to_themselves_are_skipped(
    tmp_path: Path, make_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "b.txt").symlink_to("b.txt")
    (tmp_path / "c.txt").symlink_to("d.txt")
    (tmp_path / "d.txt").symlink_to("c.txt")
    (tmp_path / "sub").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "e.txt")
    with caplog.at_level(logging.WARNING):
        train, _ = load_dataset(tmp_path, make_config(val_fraction=0))
    assert bytes(train.tokens.ids.tolist()) == b"some text"
    assert "4 files" in caplog.text
    assert "cannot be opened" in refused(tmp_path / "b.txt", make_config())


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, make_config: Any) -> None:
    os.mkfifo(tmp_path / "a.txt")
    assert "is a pipe, socket or device" in refused(tmp_path / "a.txt", make_config())


def test_text_that_a_tokenizer_cannot_express_is_located(tmp_path: Path, make_config: Any) -> None:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    file = tmp_path / "tokenizer.json"
    made.save(str(file))
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a a"}\n{"text": "a b"}\n')
    message = refused(path, make_config(tokenizer=str(file)))
    assert f"line 2 of {str(path)!r} cannot be encoded: the tokenizer 'tokenizer.json'" in message


def test_the_line_of_a_strange_character_in_a_text_is_named(
    tmp_path: Path, make_config: Any
) -> None:
    (tmp_path / "a.txt").write_text("abc\n" * 10)
    (tmp_path / "b.txt").write_text("abc\n" * 4 + "abz\n")
    config = make_config(tokenizer="char", val_dataset_path=str(tmp_path / "b.txt"))
    assert f"line 5 of {str(tmp_path / 'b.txt')!r}" in refused(tmp_path / "a.txt", config)


def test_what_the_tokenizer_works_on_is_shown(tmp_path: Path, make_config: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    seen: list[str] = []
    with progress.encoding_shown_to(seen.append):
        load_dataset(path, make_config(val_fraction=0))
    assert seen == [f"line 1 of {str(path)!r}", "", f"line 2 of {str(path)!r}", ""]


def test_of_texts_that_are_tokenized_together_a_long_one_is_shown_alone(
    tmp_path: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.encoding.BATCH_CHARACTERS", 20)
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    made.save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "a.jsonl"
    texts = ["a", "a", "a" * 30, "a", "a" * 25, "a"]
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    seen: list[str] = []
    with progress.encoding_shown_to(seen.append):
        load_dataset(path, make_config(tokenizer=str(tmp_path / "tokenizer.json"), val_fraction=0))
    places = [place.removesuffix(f" of {str(path)!r}") for place in seen if place]
    assert places == ["lines 1 to 2", "line 3", "line 4", "line 5", "line 6"]
