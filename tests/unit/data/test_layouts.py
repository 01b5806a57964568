"""Folders as tools write them: their data is learned, and what lies beside it is not."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training import reading
from app.training.config import TrainingConfig
from app.training.data import DataError, load_dataset
from app.training.data.formats import ReadOptions
from app.training.data.survey import survey
from app.training.preflight import VisibleData, inspect_run
from app.training.reading import restrict_to

TRAIN, VALID, TEST = "the training text. " * 4, "validation here. " * 3, "test, left alone. " * 3


@pytest.fixture
def config(make_config: Any) -> Any:
    return make_config(val_fraction=0.0)


def learned(path: Path, config: Any) -> tuple[str, str | None]:
    """The text that trains, and the text that validates."""
    found = inspect_run(config, VisibleData(path, tokenizer=True))
    assert found.problems == []
    train, validation = load_dataset(path, config)
    texts = [
        bytes(each.tokens.ids[each.start : each.stop].tolist()).decode() if each else None
        for each in (train, validation)
    ]
    return str(texts[0]), texts[1]


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    return str(error.value)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files: records by their ending, else the text itself."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            path.write_text(json.dumps({"text": text}) + "\n")
        elif path.suffix == ".parquet":
            pq.write_table(pa.table({"text": [text]}), path)
        elif path.suffix == ".arrow":
            table = pa.table({"text": [text]})
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
                out.write_table(table)
        else:
            path.write_text(text)


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "validation.jsonl", "test.jsonl"),
        ("data/train-0-of-1.parquet", "data/valid-0-of-1.parquet", "data/test-0-of-1.parquet"),
        ("train/0.parquet", "dev/0.parquet", "test/0.parquet"),
        ("train/data-0-of-1.arrow", "val/data-0-of-1.arrow", "test/data-0-of-1.arrow"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("split=train/0.parquet", "split=validation/0.parquet", "split=test/0.parquet"),
    ],
)
def test_the_layout_of_the_hub(tmp_path: Path, config: Any, names: tuple[str, str, str]) -> None:
    write(tmp_path, dict(zip(names, (TRAIN, VALID, TEST), strict=True)))
    write(tmp_path, {"README.md": "a card", "LICENSE": "a licence", "load.py": "a script"})
    assert learned(tmp_path, config) == (TRAIN, VALID)
    other = tmp_path.parent / f"{tmp_path.name}.txt"
    other.write_text("given for validation")
    config.val_dataset_path = str(other)
    assert learned(tmp_path, config) == (TRAIN, "given for validation")
    config.val_dataset_path = str(tmp_path)  # its part for validation
    assert learned(other, config) == ("given for validation", VALID)


def test_what_is_skipped_is_said_at_the_start_and_in_the_log(
    tmp_path: Path, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"train.jsonl": TRAIN, "test.jsonl": TEST, "README.md": "a card"})
    with caplog.at_level(logging.WARNING):
        assert learned(tmp_path, config) == (TRAIN, None)
    (warning,) = inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings
    assert warning.field == "dataset_path"
    assert warning.message in caplog.text
    assert f"{str(tmp_path / 'test.jsonl')!r} (test data, left alone)" in warning.message
    assert f"{str(tmp_path / 'README.md')!r} (not records, " in warning.message


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.jsonl": TRAIN, "notes.txt": "?"}, "holds records ("),
        ({"a.py": "code\n" * 99, "fixture.json": '[{"text": "?"}]'}, "holds records ("),
        ({"train.jsonl": TRAIN, "more.jsonl": TRAIN}, "files named for nothing ("),
        ({"test.jsonl": TEST}, "only files named for validation or tests"),
        ({"a.jsonl": TRAIN, "b.json": '[{"question": "?"}]'}, "has the columns ['question']"),
        ({"a.json": '{"question": "?"}', "README": ""}, "has the columns ['question']"),
    ],
)
def test_what_has_no_clear_reading_is_refused(
    tmp_path: Path, config: Any, files: dict[str, str], said: str
) -> None:
    write(tmp_path, files)
    message = refused(tmp_path, config)
    assert said in message
    assert any(name in message for name in files)
    with pytest.raises(DataError, match=r"holds|has"):
        survey(tmp_path, ReadOptions(256))


def chosen(path: Path, config: Any, line: str) -> tuple[str, str | None]:
    """What is learned with this line added to the configuration."""
    config.data = TrainingConfig.from_document(line).data
    return learned(path, config)


@pytest.mark.parametrize(
    ("files", "learned_by"),
    [
        ({"a.jsonl": "1", "b.jsonl": "2", "notes.txt": "3"}, ["1\n\n2", "3"]),
        ({"a.py": "code\n" * 99, "fixture.jsonl": "1"}, ["1", "code\n" * 99]),
        ({"train.jsonl": "1", "x/more.jsonl": "2"}, ["1", "1\n\n2"]),
        ({"test-0.jsonl": "1", "test-1.jsonl": "2"}, ["1\n\n2"]),
    ],
)
def test_a_refusal_names_the_line_that_chooses(
    tmp_path: Path, make_config: Any, files: dict[str, str], learned_by: list[str]
) -> None:
    config = make_config(val_fraction=0.0, sequence_length=1)
    write(tmp_path, {name: text * 2 for name, text in files.items()})
    lines = re.findall(r"`(data: {.*?})`", refused(tmp_path, config))
    wanted = ["\n\n".join(part * 2 for part in text.split("\n\n")) for text in learned_by]
    assert [chosen(tmp_path, config, line)[0] for line in lines] == wanted


def test_text_and_ids_are_chosen_from(tmp_path: Path, config: Any) -> None:
    write(tmp_path, {"a.jsonl": TRAIN, "b.jsonl": ""})
    (tmp_path / "b.jsonl").write_text('{"input_ids": [1, 2, 3, 4, 5, 6]}')
    lines = re.findall(r"`(data: {.*?})`", refused(tmp_path, config))
    assert lines == ['data: {files: ["a.jsonl"]}', 'data: {files: ["b.jsonl"]}']
    assert chosen(tmp_path, config, lines[1])[0] == "\1\2\3\4\5\6"


@pytest.mark.parametrize(
    ("line", "learned_by", "validated"),
    [
        ("data: {files: train_*.jsonl}", "sft." * 3, None),
        ("data: {files: ['*.jsonl']}", "sft." * 3, "dev." * 3),
        ("data: {files: ['**/*.jsonl']}", "gen." * 3 + "\n\n" + "sft." * 3, "dev." * 3),
        ("data: {files: gen}", "gen." * 3, None),
        ("data: {files: ['./**/dev-[0-9].jsonl']}", "dev." * 3, None),
        ("data: {split: train_sft}", "sft." * 3, "dev." * 3),
        ("data: {split: test}", "test" * 3, "dev." * 3),
        ("data: {split: validation}", "dev." * 3, None),
    ],
)
def test_files_and_split_choose(
    tmp_path: Path, config: Any, line: str, learned_by: str, validated: str | None
) -> None:
    parts = {"train_sft-0": "sft.", "gen/train_gen-0": "gen.", "dev-0": "dev.", "test-0": "test"}
    write(tmp_path, {f"{name}.jsonl": text * 3 for name, text in parts.items()})
    write(tmp_path, {"README.md": "a card"})
    assert chosen(tmp_path, config, line) == (learned_by, validated)
    survey(tmp_path, ReadOptions.of(config))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("data: {files: ['*.txt', '*.json']}", "the pattern '*.json', which matches none of the "),
        ("data: {split: gen}", "`data.split` is 'gen', and none of the files in "),
    ],
)
def test_a_choice_of_nothing_is_refused(tmp_path: Path, config: Any, line: str, said: str) -> None:
    write(tmp_path, {"train.txt": TRAIN, "data/validation.txt": VALID})
    config.data = TrainingConfig.from_document(line).data
    message = refused(tmp_path, config)
    assert said in message
    assert "train.txt" in message
    (problem,) = inspect_run(config, VisibleData(tmp_path, tokenizer=True)).problems
    assert problem.message == message
    assert "is a file; leave `data." in refused(tmp_path / "train.txt", config)
    config.val_dataset_path = str(tmp_path / "train.txt")  # nothing is chosen there
    config.data = TrainingConfig.from_document("data: {files: train.txt}").data
    assert learned(tmp_path, config) == (TRAIN, TRAIN)


def test_source_code_is_not_divided(tmp_path: Path, config: Any) -> None:
    write(
        tmp_path,
        {
            "_private.py": "first",
            "conf.json": '{"a": 1}',
            "test/data.txt": "t",
            "train.py": "x",
            "train.txt": "y",
        },
    )
    text = learned(tmp_path, config)[0]
    assert sorted(text.split("\n\n")) == sorted(["first", '{"a": 1}', "t", "x", "y"])


def test_a_folder_of_save_to_disk(tmp_path: Path, config: Any) -> None:
    write(
        tmp_path,
        {
            "data-00000-of-00001.arrow": TRAIN,
            "data-00000-of-00002.arrow": "of an earlier save",
            "cache-1234.arrow": "of a transformation",
            "dataset_info.json": json.dumps({"features": {"text": {"dtype": "string"}}}),
            "state.json": json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}),
        },
    )
    assert learned(tmp_path, config) == (TRAIN, None)
    state = {"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state, indent=1))
    assert "call `flatten_indices()`" in refused(tmp_path, config)


def test_arrow_in_the_format_of_files(tmp_path: Path, config: Any) -> None:
    table = pa.table({"text": ["a", "b"] * 2000})
    path = tmp_path / "a.feather"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table, max_chunksize=1500)
    assert learned(path, config)[0] == "\n\n".join(["a", "b"] * 2000)
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read as Arrow" in refused(path, config)


def test_folders_of_spark_and_databricks(tmp_path: Path, config: Any) -> None:
    write(
        tmp_path,
        {
            "part-0.parquet": TRAIN,
            "_SUCCESS": "",
            "_committed_1": '{"added": ["part-0.parquet"]}',
            "_temporary/part-1.parquet": "half-written",
            "_metadata.jsonl": "a note",
        },
    )
    assert learned(tmp_path, config) == (TRAIN, None)
    (tmp_path / "_delta_log").mkdir()
    assert "is a table of Delta Lake" in refused(tmp_path, config)


@pytest.mark.parametrize("names", [("AA/wiki_00", "AB/wiki_00"), ("part-00000", "part-00001")])
def test_records_in_files_without_an_ending(
    tmp_path: Path, config: Any, names: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """wikiextractor and Spark's writer of text leave the ending out."""
    for name, text in zip(names, (TRAIN, VALID), strict=True):
        write(tmp_path, {name: json.dumps({"id": "1", "text": text}) + "\n"})
    write(tmp_path, {"_SUCCESS": ""})
    assert learned(tmp_path, config) == (f"{TRAIN}\n\n{VALID}", None)
    note = f"{str(tmp_path / names[0])!r} is named as text and holds records"
    assert caplog.text.count(note) == 1
    assert "name it `.log` (and 1 files more)" in caplog.text
    found = inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings
    assert sum(note in each.message for each in found) == 1


def test_lines_that_only_look_like_records_are_text(tmp_path: Path, make_config: Any) -> None:
    config = make_config(val_fraction=0, sequence_length=1)
    record = json.dumps({"text": TRAIN})
    for text in (f"{record}\nand prose", '{"level": 1}\n{"level": 2}', "{{", "{}\n{}", "{'a': 1}"):
        write(tmp_path, {"a.txt": text})
        assert learned(tmp_path / "a.txt", config) == (text, None)
    write(tmp_path, {"a.log": f"{record}\n{record}\n"})
    assert learned(tmp_path / "a.log", config) == (f"{record}\n{record}\n", None)


def test_lines_of_objects_without_the_text_column_are_warned_of(
    tmp_path: Path, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as the comments of Reddit, whose files have no ending but that of zstd."""
    text = json.dumps({"author": "a", "body": TRAIN}) + "\n"
    write(tmp_path, {"RC_2015-01": text})
    assert learned(tmp_path, config) == (text, None)
    assert "JSON objects with the fields ['author', 'body']: their braces are" in caplog.text
    (warning,) = inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings
    assert "set `text_column` to the field that holds the text" in warning.message


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_labels_beside_ids_are_warned_of(
    tmp_path: Path, config: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"input_ids": list(TRAIN.encode()), "labels": [-100] * len(TRAIN)}]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text(json.dumps(rows[0]))
    assert learned(tmp_path, config) == (TRAIN, None)
    assert "has `labels` beside `input_ids`; it is not read, and every id is" in caplog.text
    (warning,) = inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings
    assert "`labels` beside `input_ids`" in warning.message


def test_records_named_as_text_have_a_cache_of_their_own(tmp_path: Path, config: Any) -> None:
    """The same bytes under another column are text, and were cached as such."""
    write(tmp_path, {"a.txt": json.dumps({"body": TRAIN}) + "\n"})
    assert learned(tmp_path / "a.txt", config)[0] == json.dumps({"body": TRAIN}) + "\n"
    config.text_column = "body"
    assert learned(tmp_path / "a.txt", config) == (TRAIN, None)


def test_a_repository_in_the_cache_of_the_hub(tmp_path: Path, config: Any) -> None:
    write(tmp_path, {"refs/main": "abc", "blobs/a1": TRAIN, "snapshots/abc/b.txt": TRAIN})
    message = refused(tmp_path, config)
    assert f"set `dataset_path` to {str(tmp_path / 'snapshots/abc')!r}" in message
    assert learned(tmp_path / "snapshots/abc", config) == (TRAIN, None)


def test_a_folder_of_nanogpt(tmp_path: Path, config: Any) -> None:
    write(tmp_path, {"input.txt": "not this", "prepare.py": "nor this", "readme.md": "nor this"})
    (tmp_path / "meta.pkl").write_bytes(b"\x80\x04\xff")
    np.array(list(TRAIN.encode()), "<u2").tofile(tmp_path / "train.bin")
    np.array(list(VALID.encode()), "<u2").tofile(tmp_path / "val.bin")
    assert learned(tmp_path, config) == (TRAIN, VALID)


def test_shards_of_ids_are_joined(tmp_path: Path, config: Any) -> None:
    for i in range(3):
        np.save(tmp_path / f"shard_{i}.npy", np.arange(5 * i, 5 * i + 5))
    (tmp_path / "README.md").write_text("a card")
    train, _ = load_dataset(tmp_path, config)
    assert train.tokens.ids.tolist() == list(range(15))


def test_links_of_the_hugging_face_cache(
    tmp_path: Path, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_roots", None)
    snapshot, blobs = tmp_path / "repo/snapshots/abc", tmp_path / "repo/blobs"
    write(blobs, {"a1.jsonl": TRAIN})
    write(tmp_path, {"outside.jsonl": "not of the dataset"})
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").symlink_to("../../blobs/a1.jsonl")
    (snapshot / "train-2.jsonl").symlink_to("../../../outside.jsonl")
    assert learned(snapshot, config) == (TRAIN, None)
    restrict_to([snapshot])
    message = refused(snapshot, config)
    assert f"a link to {str(blobs / 'a1.jsonl')!r}, which is outside the folders" in message


def test_pipes_beside_data_are_not_waited_for(tmp_path: Path, config: Any) -> None:
    write(tmp_path, {"0/data-00000-of-00001.arrow": TRAIN})
    os.mkfifo(tmp_path / "0" / "state.json")
    assert learned(tmp_path / "0", config) == (TRAIN, None)
    np.array(list(TRAIN.encode()), "<u2").tofile(tmp_path / "a.bin")
    os.mkfifo(tmp_path / "a.idx")
    assert learned(tmp_path / "a.bin", config) == (TRAIN, None)
