"""Files of bare ids as datatrove, dolma and OLMo write them, with what they write beside."""

from __future__ import annotations

import csv
import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.training.data import DataError, load_dataset
from app.training.data.formats import ReadOptions
from app.training.data.survey import survey
from app.training.preflight import VisibleData, inspect_run

DOCUMENTS = [list(b"The quick brown fox.\0"), list(b"It jumps.\0"), list(b"\0")]
IDS = [i for document in DOCUMENTS for i in document]


@pytest.fixture
def config(make_config: Any) -> Any:
    return make_config(val_fraction=0)


def learned(path: Path, config: Any) -> list[int]:
    assert survey(path, ReadOptions.of(config)).content == "input_ids"
    ids: list[int] = load_dataset(path, config)[0].tokens.ids.tolist()
    return ids


def refused(path: Path, config: Any) -> str:
    with pytest.raises(DataError) as error:
        load_dataset(path, config)
    return str(error.value)


def datatrove(path: Path, documents: Sequence[Sequence[int]], width: int = 2) -> None:
    """Write what `TokenizedFile` of datatrove 0.10 writes."""
    ends = np.cumsum([len(document) for document in documents]).tolist()
    ids = [i for document in documents for i in document]
    path.write_bytes(struct.pack(f"<{len(ids)}{'H' if width == 2 else 'I'}", *ids))
    path.with_name(f"{path.name}.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    path.with_name(f"{path.name}.metadata").write_text(f"gpt2|{width}\n{len(ids)}\n{len(ids)} T")


def dolma(path: Path, documents: Sequence[Sequence[int]], dtype: str = "uint16") -> None:
    """Write what `MemmapWriter` of dolma 1.2 writes: no header, and a table beside."""
    ids = [i for document in documents for i in document]
    np.memmap(path, dtype, "w+", shape=(len(ids),))[:] = ids
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        end = 0
        for number, document in enumerate(documents):
            start, end = end, end + len(document)
            csv.writer(file).writerow((start, end, f"id-{number}", "a/b.jsonl.gz", number + 1))


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("vocab_size", [256, 1 << 17])
def test_ids_of_datatrove(tmp_path: Path, make_config: Any, width: int, vocab_size: int) -> None:
    """The index tells their width, whatever the vocabulary: a few ids show no zeros."""
    config = make_config(vocab_size, val_fraction=0)
    datatrove(tmp_path / "00000_00000_shuffled.ds", DOCUMENTS[:2], width)
    datatrove(tmp_path / "00001_00000_shuffled.ds", DOCUMENTS[2:], width)
    assert learned(tmp_path / "00000_00000_shuffled.ds", config) == IDS[:-1]
    assert learned(tmp_path, config) == IDS
    warnings = str(inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings)
    assert "token_dtype" not in warnings
    assert "shuffled.ds.metadata' (about the ids beside it)" in warnings


def test_ids_of_datatrove_without_an_index_are_told_as_others(tmp_path: Path, config: Any) -> None:
    datatrove(tmp_path / "a.ds", DOCUMENTS * 9, 4)
    (tmp_path / "a.ds.index").unlink()
    assert learned(tmp_path / "a.ds", config) == IDS * 9


def test_ids_of_datatrove_that_do_not_fit_their_index(tmp_path: Path, config: Any) -> None:
    path, index = tmp_path / "a.ds", tmp_path / "a.ds.index"
    datatrove(path, DOCUMENTS)
    path.write_bytes(path.read_bytes()[:-2])
    said = f"has {2 * len(IDS) - 2} bytes, and {str(index)!r} counts {len(IDS)} tokens"
    assert said in refused(path, config)
    index.write_bytes(b"\1\0\0")
    assert "counts None tokens; there must be 2 or 4 bytes for each" in refused(path, config)


def test_a_mask_of_datatrove_is_not_passed_over(tmp_path: Path, make_config: Any) -> None:
    datatrove(tmp_path / "a.ds", DOCUMENTS)
    (tmp_path / "a.ds.loss").write_bytes(bytes([0, 1] * (len(IDS) // 2) + [1]))
    for config in (make_config(), make_config(token_dtype="uint16")):
        for path in (tmp_path / "a.ds", tmp_path):
            assert "every token would be trained on; move the mask away" in refused(path, config)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_ids_of_dolma(tmp_path: Path, make_config: Any, dtype: str) -> None:
    for number in range(2):
        dolma(tmp_path / f"part-{number}-00000.npy", DOCUMENTS * 9, dtype)
    config = make_config(256 if dtype == "uint16" else 100278, val_fraction=0)
    assert learned(tmp_path, config) == IDS * 18
    warnings = str(inspect_run(config, VisibleData(tmp_path, tokenizer=True)).warnings)
    assert f"has no header of NumPy and is read as bare {dtype} ids" in warnings
    assert "part-0-00000.csv.gz' (about the ids beside it)" in warnings


def test_wide_ids_of_dolma_for_a_small_vocabulary(tmp_path: Path, make_config: Any) -> None:
    dolma(tmp_path / "a.npy", DOCUMENTS * 9, "uint32")
    assert learned(tmp_path / "a.npy", make_config(val_fraction=0)) == IDS * 9
    dolma(tmp_path / "b.npy", [[1, 2]], "uint32")
    told = make_config(val_fraction=0, token_dtype="uint32", sequence_length=1)
    assert learned(tmp_path / "b.npy", told) == [1, 2]


def test_masks_of_olmo_are_no_ids(tmp_path: Path, config: Any) -> None:
    """What open-instruct writes for OLMo: ids, and a byte for each that says what is trained on."""
    dolma(tmp_path / "token_ids_part_0000.npy", DOCUMENTS, "uint16")
    mask = np.arange(len(IDS)) % 3 > 0
    np.memmap(tmp_path / "labels_mask_part_0000.npy", bool, "w+", shape=mask.shape)[:] = mask
    message = refused(tmp_path, config)
    assert "labels_mask_part_0000.npy' cannot be read as .npy: " in message
    assert "holds nothing but 0 and 1, as a mask of labels does" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04\x95\x05" + bytes(7) + b"K\x01.", r"it begins with b'\x80\x04\x95"),
        (b"\x1f\x8b\x08" + bytes(90), r"it begins with b'\x1f\x8b\x08"),
        (b"Not an array. " * 9, "nor as bare ids, .* holds printable characters alone"),
        ("Кто не пускал. ".encode() * 9, "nor as bare ids, .* holds printable characters alone"),
        (b"\1\2\3", "nor as bare ids, .* has 3 bytes; without a header it must be whole uint16"),
    ],
)
def test_what_is_neither_numpys_nor_ids(
    tmp_path: Path, config: Any, content: bytes, said: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"cannot be read as .npy: .*{said}".replace("\\x", r"\\x")):
        load_dataset(tmp_path / "a.npy", config)
