"""Every format becomes the same ids, and every defect is named before the first step."""

from __future__ import annotations

import itertools
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.config import DataConfig
from app.training.data import DataError, TrainingWindows, ValidationWindows, load_dataset
from app.training.preflight import VisibleData, inspect_run

TEXT = "the quick brown fox jumps over the lazy dog\n" * 4


def ids_of(dataset: TrainingWindows | ValidationWindows | None) -> list[int]:
    assert dataset is not None
    return dataset.tokens.ids[dataset.start : dataset.stop].tolist()


def whole(path: Path, config: Any) -> list[int]:
    train, validation = load_dataset(path, config)
    assert validation is None
    return ids_of(train)


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    return str(error.value)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.py", "a.TXT", "a.json"])
def test_text_files_become_their_bytes(tmp_path: Path, make_config: Any, name: str):
    path = tmp_path / name
    path.write_text(TEXT)
    assert bytes(whole(path, make_config(val_fraction=0))).decode() == TEXT


def test_text_is_taken_as_it_is(tmp_path: Path, make_config: Any):
    path = tmp_path / "a.txt"
    path.write_bytes("é\r\n€".encode() * 3)
    assert bytes(whole(path, make_config(val_fraction=0))) == "é\r\n€".encode() * 3


def test_the_tail_is_validation(tmp_path: Path, make_config: Any):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(1, 101)))
    train, validation = load_dataset(path, make_config(val_fraction=0.25))
    assert ids_of(train) == list(range(1, 76))
    assert ids_of(validation) == list(range(76, 101))
    for epoch in range(20):  # at no offset does a training window reach into the tail
        train.set_epoch(epoch)
        assert max(int(window.max()) for window in (train[i] for i in range(len(train)))) < 76


def test_a_validation_file_leaves_all_of_the_training_data(tmp_path: Path, make_config: Any):
    (tmp_path / "a.txt").write_text("abcdefgh")
    (tmp_path / "b.txt").write_text("hgfa")
    config = make_config(tokenizer="char", val_dataset_path=str(tmp_path / "b.txt"))
    train, validation = load_dataset(tmp_path / "a.txt", config)
    assert ids_of(train) == list(range(8))
    assert ids_of(validation) == [7, 6, 5, 0]  # in the training text's alphabet
    (tmp_path / "b.txt").write_text("haz")
    message = refused(tmp_path / "a.txt", config)
    assert "line 1 of" in message
    assert re.search(r"holds 'z' at 2; .* 8 characters of its training", message)


def test_a_folder_is_read_in_sorted_order_with_blank_lines_between(
    tmp_path: Path, make_config: Any, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_text("hidden")
    (tmp_path / "b.py").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "sub" / "README").write_text("third")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    with caplog.at_level(logging.WARNING):
        ids = whole(tmp_path, make_config(val_fraction=0))
    assert bytes(ids).decode() == "first\n\nsecond\n\nthird"
    (message,) = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert message.startswith(f"5 files in {str(tmp_path)!r} are skipped: ")
    for name, reason in (
        ("picture.png", "not named as data"),
        ("latin.txt", "not text in UTF-8 or UTF-16"),
        ("nul.txt", "not text in UTF-8 or UTF-16"),
        ("link.txt", "not a file, or a link that leads out of the folder"),
        ("empty.txt", "empty"),
    ):
        assert f"{str(tmp_path / name)!r} ({reason})" in message


def test_a_folder_of_records(tmp_path: Path, make_config: Any):
    (tmp_path / "1.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    pq.write_table(pa.table({"text": ["three"]}), tmp_path / "2.parquet")
    ids = whole(tmp_path, make_config(val_fraction=0))
    assert bytes(ids).decode() == "one\n\ntwo\n\nthree"


def test_records_of_ids_are_joined(tmp_path: Path, make_config: Any):
    rows = [[1, 2, 3], [4, 5], [6, 7, 70000]]
    lines = "".join(json.dumps({"input_ids": row}) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    pq.write_table(pa.table({"input_ids": rows, "id": [1, 2, 3]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        config = make_config(vocab_size=70001, val_fraction=0)
        assert whole(tmp_path / name, config) == [1, 2, 3, 4, 5, 6, 7, 70000]


def test_text_wins_over_ids(tmp_path: Path, make_config: Any):
    (tmp_path / "a.jsonl").write_text('{"text": "hello", "input_ids": [1, 2, 3, 4, 5, 6]}')
    assert bytes(whole(tmp_path / "a.jsonl", make_config(val_fraction=0))) == b"hello"


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i8", "<u4"])
def test_npy_of_any_integer(tmp_path: Path, make_config: Any, dtype: str):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(20, dtype=dtype).reshape(4, 5))
    assert whole(path, make_config(val_fraction=0)) == list(range(20))


def test_bin_without_header_is_uint16_or_what_the_vocabulary_needs(
    tmp_path: Path, make_config: Any
):
    ids = np.array([1, 2, 3, 4, 5, 60000])
    ids.astype("<u2").tofile(tmp_path / "short.bin")
    ids.astype("<u4").tofile(tmp_path / "long.bin")
    assert whole(tmp_path / "short.bin", make_config(65536, val_fraction=0)) == ids.tolist()
    assert whole(tmp_path / "long.bin", make_config(65537, val_fraction=0)) == ids.tolist()


@pytest.mark.parametrize(
    ("magic", "version", "dtype"), [(20240520, 1, "<u2"), (20240801, 7, "<u4")]
)
def test_bin_with_the_header_of_llm_c(
    tmp_path: Path, make_config: Any, magic: int, version: int, dtype: str
):
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, 9
    path = tmp_path / "a.bin"
    path.write_bytes(header.tobytes() + np.arange(9).astype(dtype).tobytes())
    assert whole(path, make_config(val_fraction=0)) == list(range(9))
    path.write_bytes(path.read_bytes()[:-1])
    assert "its header announces 9 tokens" in refused(path, make_config())
    header[1] = 99
    path.write_bytes(header.tobytes())
    assert f"header of version 99; with magic {magic} it must be {version}" in refused(
        path, make_config()
    )


def test_a_token_outside_the_vocabulary_is_named(tmp_path: Path, make_config: Any):
    (tmp_path / "a.txt").write_text("wxyxw" * 5)
    np.array([1, 2, 3, 4, 120] * 4, dtype="<u2").tofile(tmp_path / "a.bin")
    (tmp_path / "a.jsonl").write_text('{"input_ids": [1, 2, 3, 4, 5, 120]}')
    for name in ("a.bin", "a.jsonl"):
        assert (
            "holds the token 120, but `model_config.vocab_size` is 100; every token must be below "
            "it; set vocab_size to at least 121"
        ) in refused(tmp_path / name, make_config(100))
    assert (
        f"line 1 of {str(tmp_path / 'a.txt')!r} holds the token 121, but `model_config.vocab_size` "
        "is 100; the tokenizer 'byte' has 256 ids; set vocab_size to at least 256"
    ) in refused(tmp_path / "a.txt", make_config(100))


def test_bad_ids_are_named(tmp_path: Path, make_config: Any):
    np.save(tmp_path / "a.npy", np.array([5, -100, 5]))
    (tmp_path / "a.jsonl").write_text('{"input_ids": [5, -100, 5]}')
    for name in ("a.npy", "a.jsonl"):
        assert "holds the token -100; ids must be >= 0" in refused(tmp_path / name, make_config())
    (tmp_path / "b.jsonl").write_text('{"input_ids": [5]}\n{"input_ids": [1.5]}\n')
    assert "`input_ids` in line 2 of" in refused(tmp_path / "b.jsonl", make_config())
    (tmp_path / "c.jsonl").write_text('{"input_ids": [4294967296]}')
    assert "ids must be below 2^32" in refused(tmp_path / "c.jsonl", make_config())


def test_too_short_data_says_how_much_is_needed(tmp_path: Path, make_config: Any):
    path = tmp_path / "a.txt"
    path.write_text("12345678")
    message = refused(path, make_config(sequence_length=8))
    assert "has 8 tokens, of which 1 are held back for validation" in message
    assert "at least sequence_length + 1 = 9; lower `sequence_length`" in message
    assert "the validation part of" in refused(path, make_config(sequence_length=4))
    assert "has 1 token; it must have at least 2; raise `val_fraction`" in refused(
        path, make_config(sequence_length=4)
    )
    assert "sequence_length + 1 = 1025" in refused(path, make_config(sequence_length=None))


@pytest.mark.parametrize("name", ["a.txt", "a.bin", "a.npy", "a.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, make_config: Any, name: str):
    (tmp_path / name).touch()
    assert f"{str(tmp_path / name)!r} is empty" in refused(tmp_path / name, make_config())


def test_missing_and_foreign_paths(tmp_path: Path, make_config: Any):
    assert "cannot be opened (No such file or directory)" in refused(
        tmp_path / "none.txt", make_config()
    )
    (tmp_path / "a.exe").write_text("x")
    assert "has the extension '.exe'; it must be text (.txt, .md" in refused(
        tmp_path / "a.exe", make_config()
    )
    (tmp_path / "folder").mkdir()
    assert "is a folder without usable files" in refused(tmp_path / "folder", make_config())


def test_columns_and_records(tmp_path: Path, make_config: Any):
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"content": "a"}')
    for name in ("a.parquet", "a.jsonl"):
        message = refused(tmp_path / name, make_config())
        assert "has the columns ['content']; it must have `text`, a conversation" in message
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "b.parquet")
    assert "column `text` of" in refused(tmp_path / "b.parquet", make_config())
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "c.parquet")
    assert "`text` in row 2 of" in refused(tmp_path / "c.parquet", make_config())
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    assert "`text` in line 2 of" in refused(tmp_path / "b.jsonl", make_config())
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"text"\n')
    assert "line 2 of" in refused(tmp_path / "c.jsonl", make_config())
    (tmp_path / "d.parquet").write_text("not parquet")
    assert "cannot be read as Parquet" in refused(tmp_path / "d.parquet", make_config())
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.jsonl").write_text('{"text": "a"}')
    (tmp_path / "mixed" / "b.jsonl").write_text('{"input_ids": [1]}')
    assert "mixes text and `input_ids`" in refused(tmp_path / "mixed", make_config())


def test_what_is_not_utf8_is_located(tmp_path: Path, make_config: Any):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (1 << 20) + b"caf\xe9 au lait")
    assert "is not UTF-8: byte 1048579 is 0xe9" in refused(path, make_config(tokenizer="char"))


def test_arrays_that_are_no_ids(tmp_path: Path, make_config: Any):
    np.save(tmp_path / "a.npy", np.ones(9))
    assert "holds values of type '<f8'; it must hold" in refused(tmp_path / "a.npy", make_config())
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as .npy" in refused(tmp_path / "b.npy", make_config())
    np.save(tmp_path / "c.npy", np.asfortranarray(np.ones((3, 3), dtype=int)))
    assert "is in column order" in refused(tmp_path / "c.npy", make_config())
    (tmp_path / "a.bin").write_bytes(b"123")
    assert "has 3 bytes; without a header it must be whole uint16" in refused(
        tmp_path / "a.bin", make_config()
    )


def test_ids_keep_a_tokenizer_only_if_it_fits(
    tmp_path: Path, make_config: Any, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "a.bin"
    np.arange(20, dtype="<u2").tofile(path)
    train, _ = load_dataset(path, make_config())
    assert train.tokenizer is not None
    np.arange(500, dtype="<u2").tofile(path)
    train, _ = load_dataset(path, make_config(500))
    assert train.tokenizer is None
    assert "it has 256 ids and the data holds 499" in caplog.text
    train, _ = load_dataset(path, make_config(500, tokenizer="char"))
    assert train.tokenizer is None


def documents(path: Path, config: Any, **data: Any) -> list[str]:
    config.data = DataConfig(**data)
    return bytes(whole(path, config)).decode().split("\n\n")


def test_the_documents_that_are_wanted_in_their_order(tmp_path: Path, make_config: Any) -> None:
    texts, config = [f"document {i}" for i in range(40)], make_config(val_fraction=0)
    records = [{"text": text} for text in ["", *texts, ""]]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\nnot read")
    assert documents(path, config, max_documents=40) == texts
    path.write_text("\n".join(map(json.dumps, records)))
    assert documents(path, config) == texts
    assert documents(path, config, max_documents=3) == texts[:3]
    drawn = documents(path, config, shuffle_documents=True)
    assert sorted(drawn) == sorted(texts)
    assert drawn != texts
    config.seed += 1
    assert sorted(texts) == sorted(other := documents(path, config, shuffle_documents=True))
    assert other != drawn
    few = documents(path, config, max_documents=3, shuffle_documents=True)
    assert sorted(few) == texts[:3]


def test_documents_of_ids(tmp_path: Path, make_config: Any) -> None:
    config = make_config(val_fraction=0)
    rows = [[i] * (i % 3) for i in range(60)]
    pq.write_table(pa.table({"input_ids": rows}), tmp_path / "a.parquet", row_group_size=7)
    assert whole(tmp_path / "a.parquet", config) == list(itertools.chain(*rows))
    config.data = DataConfig(max_documents=10)
    assert whole(tmp_path / "a.parquet", config) == list(itertools.chain(*rows[:16]))
    config.data = DataConfig(shuffle_documents=True, document_separator="between")
    ids = whole(tmp_path / "a.parquet", config)
    assert sorted(ids) == sorted(itertools.chain(*rows))
    assert [i for i, _ in itertools.groupby(ids)] == list(dict.fromkeys(ids))


def test_the_separator_of_documents(tmp_path: Path, make_config: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n{"text": ""}\n{"text": "c"}')
    for tokenizer in ("byte", "char"):
        for separator, text in ((None, "a\n\nb\n\nc"), ("<|>", "a<|>b<|>c"), ("", "abc")):
            config = make_config(val_fraction=0, tokenizer=tokenizer, sequence_length=2)
            config.data = DataConfig(document_separator=separator)
            train, _ = load_dataset(path, config)
            assert train.tokenizer.decode(ids_of(train)) == text
            found = inspect_run(config, VisibleData(path, tokenizer=True))
            assert found.problems == []
    config.data = DataConfig(document_separator="\ud800")
    config.tokenizer = "byte"
    assert "`data.document_separator` cannot be encoded: the text holds" in refused(path, config)
