"""Data sets that everyone knows, rebuilt in small with the files of their folders.

What is read of each is what the table in docs/training.md says.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data import DataError, load_dataset

ROOT = Path(__file__).parents[3]
CARD = b"---\nlicense: odc-by\n---\n# A card that nobody means to train on\n" * 3

Writer = Callable[[Path], None]


def raw(content: bytes) -> Writer:
    return lambda path: void(path.write_bytes(content))


def void(_: object) -> None:
    """Drop what a writer returns."""


def lines(*texts: str, name: str = "text", **others: Any) -> bytes:
    return "".join(json.dumps({name: text, **others}) + "\n" for text in texts).encode()


def gz(content: bytes) -> Writer:
    return raw(gzip.compress(content))


def zst(content: bytes) -> Writer:
    return raw(pa.compress(content, "zstd", asbytes=True))


def parquet(*texts: str, name: str = "text", **others: Any) -> Writer:
    columns = {name: list(texts), **{key: [value] * len(texts) for key, value in others.items()}}
    return lambda path: pq.write_table(pa.table(columns), path)


def ids(text: str) -> Writer:
    return raw(np.frombuffer(text.encode(), np.uint8).astype("<u2").tobytes())


def llm_c(text: str) -> Writer:
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, len(text)
    return raw(header.tobytes() + np.frombuffer(text.encode(), np.uint8).astype("<u2").tobytes())


def tar(files: Mapping[str, bytes], mode: str = "w") -> Writer:
    def write(path: Path) -> None:
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return write


@dataclass(frozen=True)
class Layout:
    """A folder, and what is trained on and validated on."""

    files: Mapping[str, Writer]
    train: str
    validation: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""


WEB = {"id": "<urn:uuid:1>", "url": "https://example.org", "language_score": 0.9}
PILE = {"meta": {"pile_set_name": "Pile-CC"}}

LAYOUTS = {
    "TinyStories": Layout(
        {
            "README.md": raw(CARD),
            "data/train-00000-of-00004-2d5a1467fff1081b.parquet": parquet("one day", "a girl"),
            "data/train-00001-of-00004-5852b56a2bd28fd9.parquet": parquet("named Lily"),
            "data/validation-00000-of-00001-869c898b519ad725.parquet": parquet("Spot saw"),
        },
        "one day\n\na girl\n\nnamed Lily",
        "Spot saw",
    ),
    "FineWeb": Layout(
        {
            "README.md": raw(CARD),
            ".gitattributes": raw(b"*.parquet filter=lfs\n"),
            "sample/10BT/000_00000.parquet": parquet("a page", "of the web", **WEB),
            "sample/10BT/001_00000.parquet": parquet("another", **WEB),
            "data/CC-MAIN-2024-10/000_00000.parquet": parquet("of the whole", **WEB),
        },
        "a page\n\nof the web\n\nanother",
        path="sample/10BT",
    ),
    "C4": Layout(
        {
            "README.md": raw(CARD),
            "en/c4-train.00000-of-01024.json.gz": gz(lines("clean", "crawled", timestamp="2019")),
            "en/c4-train.00001-of-01024.json.gz": gz(lines("corpus", url="https://example.org")),
            "en/c4-validation.00000-of-00008.json.gz": gz(lines("held out")),
            "realnewslike/c4-train.00000-of-00512.json.gz": gz(lines("of another part")),
        },
        "clean\n\ncrawled\n\ncorpus",
        "held out",
        path="en",
    ),
    "OpenWebText": Layout(
        {
            "README.md": raw(CARD),
            "openwebtext.py": raw(b"import datasets\n"),
            "plain_text/train-00000-of-00080.parquet": parquet("linked from", "a forum"),
            "plain_text/train-00001-of-00080.parquet": parquet("three votes"),
        },
        "linked from\n\na forum\n\nthree votes",
    ),
    "WikiText (hub)": Layout(
        {
            "README.md": raw(CARD),
            "wikitext-103-raw-v1/test-00000-of-00001.parquet": parquet(" left alone \n"),
            "wikitext-103-raw-v1/train-00000-of-00002.parquet": parquet("", " = Valkyria = \n"),
            "wikitext-103-raw-v1/train-00001-of-00002.parquet": parquet(" Senjō no \n"),
            "wikitext-103-raw-v1/validation-00000-of-00001.parquet": parquet(" = Homarus = \n"),
        },
        " = Valkyria = \n\n\n Senjō no \n",
        " = Homarus = \n",
        path="wikitext-103-raw-v1",
    ),
    "WikiText (archive)": Layout(
        {
            "wikitext-103-raw/wiki.train.raw": raw(b" = Valkyria = \n"),
            "wikitext-103-raw/wiki.valid.raw": raw(b" = Homarus = \n"),
            "wikitext-103-raw/wiki.test.raw": raw(b" = Boulter = \n"),
        },
        " = Valkyria = \n",
        " = Homarus = \n",
    ),
    "The Pile": Layout(
        {
            "README.md": raw(CARD),
            "train/00.jsonl.zst": zst(lines("It is done,", "and submitted.", **PILE)),
            "train/01.jsonl.zst": zst(lines("You can play", **PILE)),
            "val.jsonl.zst": zst(lines("validating", **PILE)),
            "test.jsonl.zst": zst(lines("testing", **PILE)),
        },
        "It is done,\n\nand submitted.\n\nYou can play",
        "validating",
    ),
    "RedPajama sample": Layout(
        {
            "README.md": raw(CARD),
            "RedPajama-Data-1T-Sample.py": raw(b"import datasets\n"),
            "arxiv_sample.jsonl": raw(lines("\\section{One}", meta={"arxiv_id": "1"})),
            "cc_2019-30_sample.jsonl": raw(lines("a crawl", meta={"language": "en"})),
            "github_sample.jsonl": raw(lines("int main", meta={"license": "mit"})),
        },
        "\\section{One}\n\na crawl\n\nint main",
    ),
    "Dolma": Layout(
        {
            "README.md": raw(CARD),
            "urls/v1_7.txt": raw(b"https://example.org/c4-0000.json.gz\n"),
            "data/c4-0000.json.gz": gz(lines("some text", "more of it", id="1", source="c4")),
            "data/pes2o-0000.json.gz": gz(lines("a paper", id="2", metadata={"year": 2020})),
        },
        "some text\n\nmore of it\n\na paper",
        path="data",
    ),
    "OSCAR": Layout(
        {
            "README.md": raw(CARD),
            "en_meta/checksum.sha256": raw(b"0" * 64 + b"  en_meta_part_1.jsonl.zst\n"),
            "en_meta/en_meta_part_1.jsonl.zst": zst(
                lines("a document", "and another", name="content", metadata={"harmful_pp": 1.5})
            ),
        },
        "a document\n\nand another",
        fields={"text_column": "content"},
        path="en_meta",
    ),
    "The Stack, StarCoder": Layout(
        {
            "README.md": raw(CARD),
            "data/java/train-00000-of-00285.parquet": parquet("class A {}\n", name="content"),
            "data/python/train-00000-of-00206.parquet": parquet(
                "import os\n", "x = 1\n", name="content", max_stars_count=3
            ),
        },
        "class A {}\n\n\nimport os\n\n\nx = 1\n",
        fields={"text_column": "content"},
    ),
    "SlimPajama": Layout(
        {
            "README.md": raw(CARD),
            "train/chunk1/example_train_0.jsonl.zst": zst(lines("deduplicated", "and clean")),
            "train/chunk2/example_train_0.jsonl.zst": zst(lines("chunk two")),
            "validation/chunk1/example_holdout_0.jsonl.zst": zst(lines("held out")),
            "test/chunk1/example_holdout_0.jsonl.zst": zst(lines("left alone")),
        },
        "deduplicated\n\nand clean\n\nchunk two",
        "held out",
    ),
    "tiny shakespeare (nanoGPT)": Layout(
        {
            "input.txt": raw(
                b"First Citizen:\nBefore we proceed any further, hear me speak.\n" * 9
            ),
            "prepare.py": raw(b"import tiktoken\n"),
            "readme.md": raw(b"# tiny shakespeare\n"),
            "train.bin": ids("First Citizen:"),
            "val.bin": ids("GREMIO:"),
            "meta.pkl": raw(b"\x80\x04}."),
        },
        "First Citizen:",
        "GREMIO:",
    ),
    "tiny shakespeare (llm.c)": Layout(
        {
            "tiny_shakespeare.txt": raw(b"First Citizen:\nBefore we proceed\n" * 9),
            "tiny_shakespeare_train.bin": llm_c("Before we proceed"),
            "tiny_shakespeare_val.bin": llm_c("any further"),
        },
        "Before we proceed",
        "any further",
    ),
    "Alpaca": Layout(
        {
            "README.md": raw(CARD),
            "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": parquet(
                "Below is an instruction.", instruction="Say hi", input="", output="hi"
            ),
        },
        "Below is an instruction.",
    ),
    "OpenAssistant": Layout(
        {
            "README.md": raw(CARD),
            "2023-04-12_oasst_ready.trees.jsonl.gz": gz(b'{"prompt": {"text": "Can you write"}}'),
            "data/train-00000-of-00001-b42a775f407cee45.parquet": parquet(
                "Can you write", "a monopsony is", role="prompter", lang="en"
            ),
            "data/validation-00000-of-00001-134b8fd0c89408b6.parquet": parquet(
                "held out", role="prompter", lang="en"
            ),
        },
        "Can you write\n\na monopsony is",
        "held out",
        path="data",
    ),
    "WebDataset shards": Layout(
        {
            "train-000000.tar": tar(
                {"a/0.txt": b"a cat", "a/0.jpg": b"\xff\xd8", "a/1.jpg": b"", "a/1.txt": b"a dog"}
            ),
            "train-000001.tar.gz": tar(
                {"2.json": b'{"text": "a bird", "url": "x"}', "3.seg.txt": b"two"}, "w:gz"
            ),
            "val-000000.tgz": tar({"4.txt": b"a fish"}, "w:gz"),
        },
        "a cat\n\na dog\n\na bird\n\ntwo",
        "a fish",
    ),
}


def build(folder: Path, files: Mapping[str, Writer]) -> None:
    for name, write in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)


def text_of(windows: Any) -> str:
    return bytes(int(i) for i in windows.tokens.ids[windows.start : windows.stop]).decode()


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_read(tmp_path: Path, make_config: Any, name: str) -> None:
    layout = LAYOUTS[name]
    build(tmp_path, layout.files)
    config = make_config(val_fraction=0, **layout.fields)
    train, validation = load_dataset(tmp_path / layout.path, config)
    assert text_of(train) == layout.train
    assert (None if validation is None else text_of(validation)) == layout.validation


def test_the_table_names_each() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    assert [name for name in LAYOUTS if f"| {name.partition(' (')[0]}" not in page] == []


def test_a_repository_with_two_forms_of_its_data_is_refused_with_the_choice(
    tmp_path: Path, make_config: Any
) -> None:
    stories = {**LAYOUTS["TinyStories"].files, "TinyStoriesV2-GPT4-train.txt": raw(b"Once upon")}
    build(tmp_path, stories)
    with pytest.raises(DataError, match=r"data: .*files.*TinyStoriesV2-GPT4-train\.txt"):
        load_dataset(tmp_path, make_config())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"0.txt": b"\xff\xfe\xfd"}, "sample 1 of .* is not text"),
        ({"0.txt": b"good", "1.json": b"{"}, "sample 2 of .* is not JSON"),
        ({"0.txt": b"good", "1.json": b'{"caption": "x"}'}, "`text` in sample 2 .* is missing"),
    ],
)
def test_a_bad_sample_is_named(
    tmp_path: Path, make_config: Any, content: dict[str, bytes], said: str
) -> None:
    tar(content)(tmp_path / "a.tar")
    with pytest.raises(DataError, match=said):
        load_dataset(tmp_path / "a.tar", make_config())


@pytest.mark.parametrize("kept", [100, 700])
def test_a_shard_that_is_cut_off(tmp_path: Path, make_config: Any, kept: int) -> None:
    tar({"0.txt": b"a" * 100, "1.txt": b"b" * 300})(tmp_path / "whole.tar")
    (tmp_path / "a.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:kept])
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        load_dataset(tmp_path / "a.tar", make_config())


def test_more_skipped_than_read_is_refused_unless_allowed(tmp_path: Path, make_config: Any) -> None:
    from app.training.config import DataConfig
    from app.training.data.formats import ReadOptions
    from app.training.data.survey import survey

    (tmp_path / "notes.txt").write_text("a few words")
    (tmp_path / "dump.sqlite").write_bytes(b"x" * 100)
    config = make_config(val_fraction=0)
    for look in (load_dataset, lambda path, config: survey(path, ReadOptions.of(config))):
        with pytest.raises(DataError, match=r"100 bytes in .* skipped and 11 .*dump\.sqlite"):
            look(tmp_path, config)
    allowed = make_config(val_fraction=0, data=DataConfig(allow_skipped=True))
    assert text_of(load_dataset(tmp_path, allowed)[0]) == "a few words"
    assert "dump.sqlite" in survey(tmp_path, ReadOptions.of(allowed)).warnings[0]
