"""Pages with long texts give the values that pyarrow reads, whoever wrote them."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data import DataError, parquet_pages, snappy_blocks
from app.training.data.formats import DataFile
from app.training.data.parquet_pages import LongTexts
from app.training.data.parts import Part
from app.training.data.records import record_pieces
from app.training.data.snappy_blocks import decompressed_snappy

CODECS = ["none", "snappy", "gzip", "zstd", "brotli"]


@pytest.fixture(autouse=True)
def every_page_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parquet_pages, "LARGE_PAGE_BYTES", 64)
    monkeypatch.setattr(parquet_pages, "LONG_VALUE_BYTES", 20)


def values_of(path: Path, name: str = "text", *, by_pyarrow: int = 0) -> list[Any]:
    """The values of a column, of which `by_pyarrow` row groups at most are left to pyarrow."""
    with pq.ParquetFile(path) as file:
        values: list[Any] = []
        left = 0
        for groups, arrays in LongTexts(file, path, name).by_groups():
            if arrays is None:
                left += len(groups)
                values += file.read_row_groups(groups, [name])[name].to_pylist()
            else:
                values += itertools.chain.from_iterable(array.to_pylist() for array in arrays())
        assert left <= by_pyarrow, "pyarrow was to read these"
        return values


def texts(chance: random.Random, rows: int, nulls: float) -> list[str | None]:
    words = ["the quick brown fox ", "世界 🙂 ", "x", "\0\n", chance.randbytes(40).hex()]
    few = ["".join(chance.choices(words, k=chance.randint(5, 60))) for _ in range(9)]
    made: list[str | None] = []
    for _ in range(rows):
        text = chance.choice(few) if chance.random() < 0.5 else chance.choice(words) * 30
        made.append(None if chance.random() < nulls else text[: chance.choice([0, 3, 10**6])])
    return made


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("has_dictionary", [False, True])
def test_values_are_those_of_pyarrow(tmp_path: Path, codec: str, has_dictionary: bool) -> None:
    for seed, nulls in itertools.product(range(4), (0, 0.2, 0.95)):
        chance = random.Random(seed)
        made = [*texts(chance, 400, nulls), "long " * 40]
        kinds = pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())
        table = pa.table({"id": range(401), "text": pa.array(made).cast(kinds[seed % 3])})
        pq.write_table(
            table,
            tmp_path / "a.parquet",
            compression=codec,
            use_dictionary=has_dictionary,
            row_group_size=chance.choice([150, 1000]),
            data_page_size=chance.choice([100, 3000, 10**6]),
            dictionary_pagesize_limit=chance.choice([500, 10**6]),
            write_batch_size=chance.choice([1, 7, 1000]),
            write_page_checksum=seed % 2 == 0,
        )
        assert values_of(tmp_path / "a.parquet", by_pyarrow=3 if nulls else 0) == made


@pytest.mark.parametrize("codec", CODECS)
def test_a_column_may_have_no_nulls_and_lie_in_structs(tmp_path: Path, codec: str) -> None:
    made = [{"b": {"c": "c" * n}, "c": "no"} for n in (100, 0, 300)] + [{"b": None, "c": "d"}, None]
    inner = pa.struct([pa.field("c", pa.string(), nullable=False)])
    fields = [("a", pa.struct([("b", inner), ("c", pa.string())]))]
    pq.write_table(pa.table([made], pa.schema(fields)), tmp_path / "a.parquet", compression=codec)
    assert values_of(tmp_path / "a.parquet", "a.b.c") == ["c" * 100, "", "c" * 300, None, None]

    needed = pa.schema([pa.field("text", pa.string(), nullable=False)])
    table = pa.table([["x" * 90, "", "y" * 90]], needed)
    pq.write_table(table, tmp_path / "b.parquet", compression=codec)
    assert values_of(tmp_path / "b.parquet") == ["x" * 90, "", "y" * 90]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lz4"},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    ],
)
def test_what_is_not_known_is_left_to_pyarrow(tmp_path: Path, options: dict[str, Any]) -> None:
    made = ["the quick brown fox " * 30] * 3
    pq.write_table(pa.table({"text": made}), tmp_path / "a.parquet", **options)
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        groups = list(LongTexts(file, tmp_path / "a.parquet", "text").by_groups())
    assert groups == [([0], None)]
    assert values_of(tmp_path / "a.parquet", by_pyarrow=1) == made


def test_short_values_and_lists_are_left_to_pyarrow(tmp_path: Path) -> None:
    table = pa.table({"text": ["is short"] * 100, "ids": [[7] * 90] * 100})
    pq.write_table(table, tmp_path / "a.parquet")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        for name in ("text", "ids", "ids.list.element", "unknown"):
            assert [a for _, a in LongTexts(file, tmp_path / "a.parquet", name).by_groups()] == [
                None
            ]


def read(path: Path) -> list[str] | None:
    """The texts of a file; None where it is refused."""
    try:
        parts = list(record_pieces(DataFile(path, "parquet"), "text", "text"))
    except DataError:
        return None
    return [str(part.content) for part in parts if isinstance(part, Part)]


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_file_is_refused_or_has_other_texts(tmp_path: Path, codec: str) -> None:
    """With checksums a damaged page is never other texts."""
    chance = random.Random(codec)
    made = [chance.randbytes(60).hex(), "the quick brown fox " * 9, "short"]
    path = tmp_path / "a.parquet"
    for has_checksum in (True, False):
        pq.write_table(
            pa.table({"text": made}), path, compression=codec, write_page_checksum=has_checksum
        )
        whole = path.read_bytes()
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        refused = 0
        for _ in range(150):
            damaged = bytearray(whole)
            place = chance.randrange(4, footer if has_checksum else len(whole))
            damaged[place] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            texts = read(path)
            refused += texts is None
            assert not has_checksum or texts in (None, made)
        assert refused > 20


@pytest.mark.parametrize("large", [64, 10**6])
def test_rows_that_a_page_lacks_are_missed(
    tmp_path: Path, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow reads such a file as one with fewer rows."""
    monkeypatch.setattr(parquet_pages, "LARGE_PAGE_BYTES", large)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 90, "y" * 90, "z" * 90]}), path, use_dictionary=False)
    three_values, two_values = b"\x2c\x15\x06", b"\x2c\x15\x04"  # in the header of a data page
    assert path.read_bytes().count(three_values) == 1
    path.write_bytes(path.read_bytes().replace(three_values, two_values))
    with pytest.raises(DataError, match=r"past row 2 .it has 2 rows, and its footer says 3"):
        list(record_pieces(DataFile(path, "parquet"), "text", "text"))


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128, value >> 7 & 127 | 128, value >> 14])


@pytest.mark.parametrize("first", [3, 64])
def test_snappy_that_cannot_be_cut_is_read_as_a_whole(first: int) -> None:
    """3: no element ends where a part does. 64: the second part copies from the first one."""
    copies = (snappy_blocks.PART_BYTES + 10**5) // 64
    literal = bytes([(first - 1) << 2 if first <= 60 else 60 << 2, *([first - 1] * (first > 60))])
    size = first + copies * 64
    stream = varint(size) + literal + b"abc" * 22
    stream = stream[: 3 + len(literal) + first] + bytes([63 << 2 | 2, 3, 0]) * copies
    pieces = list(decompressed_snappy(pa.BufferReader(stream), size, lambda: stream))
    assert len(pieces) == (1 if first == 3 else 2)
    assert b"".join(pieces) == pa.decompress(stream, size, "snappy", asbytes=True)


def test_snappy_is_read_in_parts() -> None:
    chance = random.Random(1)
    words = [chance.randbytes(chance.randint(1, 300)) for _ in range(4000)]
    data = b"".join(chance.choices(words, k=40_000)) + b"\0" * 100_000 + chance.randbytes(10**6)
    stream = pa.compress(data, "snappy", asbytes=True)
    pieces = list(decompressed_snappy(pa.BufferReader(stream), len(data), lambda: b""))
    assert max(map(len, pieces)) == snappy_blocks.PART_BYTES
    assert b"".join(pieces) == data
