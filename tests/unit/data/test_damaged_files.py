"""Files that were cut off, or in which a bit flipped, at many places.

Each is one `DataError` that names the file, or is read as the right documents. Where the format has
no checksum, a cut file may give the first of them, and a flipped bit other ones.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.config import TrainingConfig
from app.training.data.errors import DataError
from app.training.data.formats import ReadOptions
from app.training.data.parts import DocumentEnd
from app.training.data.sources import find_corpus

OPTIONS = ReadOptions.of(TrainingConfig())
TEXTS = [f"record {number}: the quick brown fox, été; {'x' * number}" for number in range(12)]
IDS = np.arange(300, dtype="<u2")
TABLE = pa.table({"text": TEXTS})

JSON_LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
JSON = json.dumps([{"text": text} for text in TEXTS]).encode()
CSV = "".join(f'"{text}"\n' for text in ("text", *TEXTS)).encode()


def twice(compress: Callable[[bytes], bytes], content: bytes) -> bytes:
    return compress(content[:400]) + compress(content[400:])


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def arrow(make: Callable[..., Any]) -> bytes:
    def write(file: io.BytesIO) -> None:
        with make(file, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=5)

    return written(write)


def parquet(**options: Any) -> bytes:
    return written(lambda file: pq.write_table(TABLE, file, row_group_size=5, **options))


def tar() -> bytes:
    def write(file: io.BytesIO) -> None:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for number, text in enumerate(TEXTS):
                member = tarfile.TarInfo(f"{number:03}.txt")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))

    return written(write)


LLM_C = struct.pack("<3i1012x", 20240520, 1, len(IDS)) + IDS.tobytes()

CHECKED = {
    "a.jsonl.gz": gzip.compress(JSON_LINES),
    "two.jsonl.gz": twice(gzip.compress, JSON_LINES),
    "a.json.gz": gzip.compress(JSON),
    "a.csv.gz": gzip.compress(CSV),
    "a.txt.bz2": bz2.compress(TEXTS[3].encode()),
    "two.jsonl.bz2": twice(bz2.compress, JSON_LINES),
    "a.json.xz": lzma.compress(JSON),
    "two.jsonl.xz": twice(lzma.compress, JSON_LINES),
    "a.tar.gz": gzip.compress(tar()),
}
"""Forms with a checksum of all that they hold."""
UNCHECKED = {
    "a.txt": "\n".join(TEXTS).encode(),
    "a.jsonl": JSON_LINES,
    "ids.jsonl": b"".join(b'{"input_ids": [%d, 7, 300]}\n' % number for number in range(9)),
    "a.json": JSON,
    "a.csv": CSV,
    "two.jsonl.zst": twice(zstd, JSON_LINES),
    "a.parquet": parquet(),
    "a.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
    "a.tar": tar(),
    "a.npy": written(lambda file: np.save(file, IDS)),
    "llm_c.bin": LLM_C,
    "a.bin": IDS.tobytes(),
}


def documents(path: Path) -> list[Any]:
    """The texts or ids of a file."""
    found: list[list[Any]] = [[]]
    for piece in find_corpus(path, OPTIONS, "train").corpus.pieces():
        if isinstance(piece, DocumentEnd):
            found.append([])
        else:
            found[-1].append(piece.content)
    return [document_of(parts) for parts in found[:-1]]


def document_of(parts: list[Any]) -> Any:
    if isinstance(parts[0], str):
        return "".join(parts)
    return np.concatenate(parts).tolist()


def read(path: Path, content: bytes) -> list[Any] | None:
    """The documents, or None for one error that names the file."""
    path.write_bytes(content)
    try:
        return documents(path)
    except DataError as error:
        message = str(error)
    assert path.name in message
    return None


def is_beginning(found: Sequence[Any], whole: Sequence[Any]) -> bool:
    """Whether documents are the first ones, of which the last may be cut."""
    *complete, last = found or [[]]
    return [*complete, *whole[len(complete) :]] == whole and last == whole[len(complete)][
        : len(last)
    ]


def flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


@pytest.mark.parametrize("name", [*CHECKED, *UNCHECKED])
def test_a_damaged_file_is_one_error_or_read_right(tmp_path: Path, name: str) -> None:
    path, whole = tmp_path / name, (CHECKED | UNCHECKED)[name]
    right, chance = read(path, whole), random.Random(name)
    assert right
    refused = 0
    for _ in range(20):
        cut = read(path, whole[: chance.randrange(1, len(whole))])
        assert cut in (None, right) if name in CHECKED else cut is None or is_beginning(cut, right)
        other = read(path, flipped(whole, chance))
        assert other in (None, right) or name in UNCHECKED
        refused += (cut is None) + (other is None)
    assert refused or name == "a.txt"


def test_no_byte_of_an_arrow_file_leads_out_of_it(tmp_path: Path) -> None:
    """pyarrow follows an offset wherever it leads, also out of the process's memory."""
    whole = UNCHECKED["stream.arrow"]
    for at in range(7, len(whole), 16):  # the high bytes of most numbers
        read(tmp_path / "a.arrow", whole[:at] + b"\x7f" + whole[at + 1 :])
        read(tmp_path / "a.arrow", whole[: at - 4] + b"\x7f" + whole[at - 3 :])


def test_the_checksums_of_a_parquet_files_pages_are_verified(tmp_path: Path) -> None:
    whole = parquet(write_page_checksum=True, compression="none", use_dictionary=False)
    at = whole.index(b"quick", whole.index(b"record 1:"))  # behind the statistics
    assert read(tmp_path / "a.parquet", whole[:at] + b"thick" + whole[at + 5 :]) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:2048], "without the empty blocks that end an archive, at byte 2048"),
        (lambda whole: whole[:1030] + b"9" + whole[1031:], "bad checksum at byte 1024"),
        (lambda whole: whole + whole, "something follows its end, perhaps another archive"),
    ],
)
def test_a_tar_is_read_to_its_end_or_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(damage(UNCHECKED["a.tar"]))
    with pytest.raises(DataError, match=said):
        documents(path)


@pytest.mark.parametrize("kept", [0, 5, 12])
def test_an_index_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, 1, 2)
    (tmp_path / "a.idx").write_bytes(header[:kept])
    (tmp_path / "a.bin").write_bytes(IDS.astype("<i4").tobytes())
    with pytest.raises(DataError, match=rf"a\.idx' has {kept} bytes; it must have the header of"):
        documents(tmp_path / "a.bin")
