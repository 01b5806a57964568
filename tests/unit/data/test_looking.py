"""A look into data says what training would learn of it, in bounded time and memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from app.training.config import DataConfig, DataSource, TrainingConfig
from app.training.data import load_dataset
from app.training.data.inspection import Inspection, LengthCount, WindowSegment, report, summary
from app.training.data.looking import Bounds, inspect_data

TEXTS = ["the first text", "", "the first text", "another one, which is longer than the first"]


def write_records(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def looked(path: Path, config: TrainingConfig, bounds: Bounds | None = None) -> Inspection:
    config.dataset_path = str(path)
    return inspect_data(config, bounds)


@pytest.fixture
def config(make_config: Any) -> TrainingConfig:
    return make_config(sequence_length=8, max_steps=30, batch_size=2, val_fraction=0.0)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_lines_of_json_in_a_text_file_are_warned_of(
    tmp_path: Path, config: TrainingConfig, is_compressed: bool
) -> None:
    """Once, also where the check of a start leaves a compressed file to the worker."""
    content = b'{"author": "a", "body": "hello there"}\n' * 3
    path = tmp_path / ("RC_2015-01.gz" if is_compressed else "a.txt")
    path.write_bytes(gzip.compress(content) if is_compressed else content)
    (warning,) = looked(path, config).warnings
    assert warning.field == "dataset_path"
    assert "JSON objects with the fields ['author', 'body']" in warning.message


def test_a_folder_is_looked_into(tmp_path: Path, config: TrainingConfig) -> None:
    write_records(tmp_path / "train.jsonl", TEXTS)
    write_records(tmp_path / "val.jsonl", ["validation"])
    (tmp_path / "README.md").write_text("a card")
    found = looked(tmp_path, config)
    assert found.problems == []
    assert [(Path(file.path).name, file.use, file.form) for file in found.files] == [
        ("train.jsonl", "train", "json lines"),
        ("val.jsonl", "validation", "json lines"),
        ("README.md", "skipped", None),
    ]
    assert found.files[2].reason == "not records, as the data beside it"
    assert (found.documents, found.empty_documents, found.duplicate_documents) == (4, 1, 1)
    learned, _ = load_dataset(tmp_path, config)
    ids = learned.tokens.ids[learned.start : learned.stop]
    assert found.tokens == found.estimated_tokens == len(ids)
    assert found.lengths == [LengthCount(8, 2), LengthCount(32, 1)]
    assert found.epochs == 60 / len(learned)
    assert found.vocabulary_used == len(set(ids.tolist()))
    text = bytes(ids.tolist()).decode()
    windows = [text[start : start + 9] for start in (0, 8, 16)]
    assert [window.segments for window in found.windows] == [
        [WindowSegment(w, True)] for w in windows
    ]
    told = [warning.message for warning in found.warnings]
    assert any("1 of 4 documents are equal to an earlier one" in message for message in told)
    assert any("README.md" in message for message in told)
    assert summary(found) == (
        f"4 documents, {len(ids)} tokens, {found.epochs:.3g} epochs in max_steps, 1 empty, "
        "1 duplicates, 1 files skipped"
    )
    page = "\n".join(report(found))
    assert f"window 1, 9 tokens: {windows[0]!r}" in page
    assert json.loads(json.dumps(found.to_dict()))["windows"][0]["tokens"] == 9


def test_of_much_data_the_beginning_is_read(tmp_path: Path, config: TrainingConfig) -> None:
    texts = [f"document number {number:07}" for number in range(20_000)]
    write_records(tmp_path / "a.jsonl", texts)
    pq.write_table(pa.table({"text": texts}), tmp_path / "b.parquet", row_group_size=1000)
    (tmp_path / "c.txt").write_text("\n".join(texts * 5))
    for name in ("a.jsonl", "b.parquet", "c.txt"):
        found = looked(tmp_path / name, config, Bounds(characters=100_000))
        assert not found.complete
        assert 90_000 < found.characters < 1_200_000
        assert found.estimated_tokens is not None
        size = (tmp_path / "c.txt").stat().st_size if name == "c.txt" else 20_000 * 25
        assert 0.9 < found.estimated_tokens / size < 1.1
        assert "the beginning of it" in "\n".join(report(found))
    late = looked(tmp_path / "a.jsonl", config, Bounds(seconds=0))
    assert (late.documents, late.complete, late.estimated_tokens) == (0, False, None)


def test_ids_and_arrays(tmp_path: Path, config: TrainingConfig) -> None:
    np.arange(50_000, dtype="<u2").astype("<u2").tofile(tmp_path / "a.bin")
    config.model_config.vocab_size = 1 << 16
    found = looked(tmp_path / "a.bin", config)
    assert (found.documents, found.tokens, found.complete) == (1, 50_000, True)
    assert found.rare_share == 1
    (tmp_path / "a.jsonl").write_text('{"input_ids": [104, 105]}\n{"input_ids": [33]}')
    found = looked(tmp_path / "a.jsonl", config)
    assert (found.documents, found.tokens, found.lengths) == (
        2, 3, [LengthCount(1, 1), LengthCount(2, 1)],
    )  # fmt: skip
    assert [window.segments for window in found.windows] == [[WindowSegment("hi!", True)]]
    config.tokenizer = str(tmp_path / "none.json")
    found = looked(tmp_path / "a.jsonl", config)
    assert (found.tokens, found.windows) == (3, [])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1, 2**32 - 1, 3], "vocab_size is 256"),
        ([1, 2**40, 3], "ids must be below 2^32"),
        ([1, -100, 3], "ids must be >= 0"),
    ],
)
def test_ids_that_no_vocabulary_has_are_a_problem_and_cost_no_memory(
    tmp_path: Path, config: TrainingConfig, values: list[int], problem: str
) -> None:
    config.token_dtype = "int64"
    np.array(values).tofile(tmp_path / "a.bin")
    (tmp_path / "a.jsonl").write_text(json.dumps({"input_ids": values}) + "\n")
    for name in ("a.bin", "a.jsonl"):
        found = looked(tmp_path / name, config)
        said = [each.message for each in found.problems if "holds the token" in each.message]
        assert [f"holds the token {values[1]}" in message for message in said] == [True]
        assert problem in said[0].replace("`", "")


def test_unknown_text_is_counted(tmp_path: Path, config: TrainingConfig) -> None:
    words = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("a b a zebra " * 10)
    config.tokenizer = str(tmp_path / "tokenizer.json")
    found = looked(tmp_path / "a.txt", config)
    assert (found.tokens, found.unknown_share) == (40, 0.25)
    assert "25.00% of the tokens stand for text that" in found.warnings[-1].message


def test_characters_are_taken_from_the_text(tmp_path: Path, config: TrainingConfig) -> None:
    write_records(tmp_path / "a.jsonl", ["äöü" * 5, "xyz" * 5])
    config.tokenizer = "char"
    found = looked(tmp_path / "a.jsonl", config)
    assert (found.tokens, found.vocabulary_used, found.problems) == (32, 7, [])
    assert found.windows[1].segments == [WindowSegment("üäöüäöü\n\n", True)]


def test_what_is_wrong_is_said_and_the_rest_is_counted(
    tmp_path: Path, config: TrainingConfig
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good text"}\n{"text": 3}\n')
    write_records(tmp_path / "b.jsonl", ["more text"])
    found = looked(tmp_path, config)
    (problem,) = found.problems
    assert "`text` in line 2 of" in problem.message
    assert (found.documents, found.files[1].tokens) == (2, 9)
    (problem,) = looked(tmp_path / "gone", config).problems
    assert (problem.field, "cannot be opened" in problem.message) == ("dataset_path", True)


def test_sources_and_choices_are_taken(tmp_path: Path, config: TrainingConfig) -> None:
    write_records(tmp_path / "a.jsonl", ["one"] * 3)
    write_records(tmp_path / "b.jsonl", ["two"] * 3)
    config.data = DataConfig(files=["b*"], max_documents=2)
    assert looked(tmp_path, config).documents == 2
    names = ("a.jsonl", "b.jsonl")
    config.data = DataConfig(sources=[DataSource(str(tmp_path / name)) for name in names])
    config.dataset_path = None
    found = inspect_data(config)
    assert (found.documents, found.epochs, len(found.files)) == (6, None, 2)


def test_each_source_of_a_mixture_is_gone_through_in_its_own_time(
    tmp_path: Path, config: TrainingConfig
) -> None:
    (tmp_path / "long.txt").write_text("a" * 4000)
    (tmp_path / "short.txt").write_text("b" * 400)
    names = (("long.txt", 3.0), ("short.txt", 1.0))
    sources = [DataSource(str(tmp_path / name), weight) for name, weight in names]
    config.data, config.dataset_path, config.val_fraction = DataConfig(sources=sources), None, 0.0
    found = inspect_data(config)
    mixture, _ = load_dataset(None, config)
    samples = config.max_steps * config.get_effective_batch_size()
    times = [source.epochs for source in found.sources]
    assert times == pytest.approx(mixture.epochs_in(samples), rel=0.1)
    assert [source.share for source in found.sources] == mixture.shares == [0.75, 0.25]
    assert [source.path for source in found.sources] == [source.path for source in sources]
    (line,) = [line for line in report(found) if "long.txt, gone" in line]
    assert (
        line == f"0.75 of the samples are of {sources[0].path}, gone through {times[0]:.3g} times"
    )


def test_train_py_looks_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text " * 200)
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))\n"
    )
    repository = Path(__file__).parents[3]
    command = [sys.executable, str(repository / "train.py"), "--inspect", "--dataset", "a.txt"]
    done = subprocess.run(
        [*command, "--config", str(repository / "examples" / "tiny.yaml")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 documents, 2,000 tokens" in done.stdout
    assert done.stdout.endswith("False\n")
