"""Data is read from permitted folders alone, whatever links say when the file is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training import reading
from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.training.data.arrays import open_token_file
from app.training.data.formats import ReadOptions
from app.training.reading import PathNotAllowedError, open_permitted, restrict_to

TEXT = "to be or not to be, that is the question\n" * 40


@pytest.fixture(autouse=True)
def own_restriction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on after the test."""
    monkeypatch.setattr(reading, "_roots", None)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A permitted folder, and one beside it."""
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "cache"))
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    return inside, outside


def write(path: Path) -> None:
    match path.suffix:
        case ".txt":
            path.write_text(TEXT)
        case ".jsonl":
            path.write_text(json.dumps({"text": TEXT}) + "\n")
        case ".parquet":
            pq.write_table(pa.table({"text": [TEXT]}), path)
        case ".npy":
            np.save(path, np.arange(900, dtype=np.uint16) % 250)
        case ".bin":
            (np.arange(900, dtype=np.uint16) % 250).tofile(path)


def config(**fields: Any) -> TrainingConfig:
    return TrainingConfig(
        model_config={"vocab_size": 256, "max_position_embeddings": 16},  # type: ignore[arg-type]
        val_fraction=0.0,
        **fields,
    )


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a.npy", "a.bin"])
def test_a_file_that_became_a_link_to_the_outside_is_not_read(
    places: tuple[Path, Path], name: str
) -> None:
    inside, outside = places
    write(inside / name)
    restrict_to([inside])
    train, _ = load_dataset(inside / name, config())
    assert len(train) > 0
    write(outside / name)
    (inside / name).unlink()
    (inside / name).symlink_to(outside / name)
    with pytest.raises(PathNotAllowedError, match=r"leads to .* which is not under a folder"):
        load_dataset(inside / name, config())


def test_a_folder_on_the_way_that_became_a_link_is_not_followed(
    places: tuple[Path, Path],
) -> None:
    inside, outside = places
    for folder in (inside / "corpus", outside):
        folder.mkdir(exist_ok=True)
        write(folder / "a.txt")
    restrict_to([inside])
    load_dataset(inside / "corpus", config())
    (inside / "corpus").rename(inside / "was")
    (inside / "corpus").symlink_to(outside)
    for named in (inside / "corpus", inside / "corpus" / "a.txt"):
        with pytest.raises(PathNotAllowedError):
            load_dataset(named, config())


def test_validation_data_and_the_tokenizer_are_under_the_same_rule(
    places: tuple[Path, Path],
) -> None:
    inside, outside = places
    write(inside / "a.txt")
    write(outside / "b.txt")
    (outside / "tokenizer.json").write_text("{}")
    for name in ("b.txt", "tokenizer.json"):
        (inside / name).symlink_to(outside / name)
    restrict_to([inside])
    for fields in (
        {"val_dataset_path": str(inside / "b.txt")},
        {"tokenizer": str(inside / "tokenizer.json")},
    ):
        with pytest.raises(PathNotAllowedError):
            load_dataset(inside / "a.txt", config(**fields))


def test_a_link_between_two_permitted_folders_is_followed(places: tuple[Path, Path]) -> None:
    inside, outside = places
    write(outside / "a.txt")
    (inside / "a.txt").symlink_to(outside / "a.txt")
    restrict_to([inside, outside])
    assert len(load_dataset(inside / "a.txt", config())[0]) > 0


def test_an_array_is_asked_for_again_by_a_process_that_maps_it(
    places: tuple[Path, Path],
) -> None:
    inside, outside = places
    write(inside / "a.npy")
    restrict_to([inside])
    tokens = open_token_file(inside / "a.npy", ReadOptions(256))
    write(outside / "a.npy")
    (inside / "a.npy").unlink()
    (inside / "a.npy").symlink_to(outside / "a.npy")
    with pytest.raises(PathNotAllowedError):
        _ = tokens.ids


def test_a_file_that_is_swapped_while_it_is_opened_is_noticed(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = places
    write(inside / "a.txt")
    write(outside / "a.txt")
    restrict_to([inside])
    opened = Path.open

    def swapped(path: Path, *arguments: Any) -> Any:
        return opened(outside / path.name, *arguments)

    monkeypatch.setattr(Path, "open", swapped)
    with pytest.raises(PathNotAllowedError, match="was replaced while it was opened"):
        open_permitted(inside / "a.txt")
