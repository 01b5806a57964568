"""Several sources are mixed by their weights, the same whatever stops the run in between."""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.training import Trainer, TrainingConfig, progress
from app.training.batches import IGNORED, LabelledRows
from app.training.config import DataConfig, DataSource
from app.training.data import DataError, load_dataset
from app.training.data.mixture import MixedValidation, MixedWindows, Source
from app.training.data.schedule import LONGEST_PERIOD, order_of_sources, whole_shares
from app.training.preflight import VisibleData, inspect_run
from app.training.preparation import Preparation, WorkDone
from app.training.sampler import BatchSampler
from app.training.source_names import loss_names

SIZES = (5, 40, 11)
WEIGHTS = (0.5, 0.3, 0.2)


def test_weights_hold_in_every_prefix_to_within_one_sample() -> None:
    draw = random.Random(0)
    for count in (1, 2, 3, 7, 20):
        for _ in range(5):
            weights = [round(draw.uniform(0.01, 1), 2) for _ in range(count)]
            shares = np.array(whole_shares(weights))
            period = int(shares.sum())
            order = np.array(order_of_sources(tuple(shares.tolist())))
            taken = np.cumsum(order[:, None] == np.arange(count), axis=0)
            lag = np.arange(1, period + 1)[:, None] * shares - taken * period
            assert np.abs(lag).max() < period
            assert (taken[-1] == shares).all()
            assert np.allclose(shares / period, np.array(weights) / sum(weights), atol=1e-5)


def test_shares_are_exact_where_they_are_short() -> None:
    assert whole_shares([0.7, 0.3]) == (7, 3)
    assert whole_shares([3, 1e-2]) == (300, 1)
    assert whole_shares([5]) == (1,)
    odd = whole_shares([1 / 3, 2 / 7, 1e-5, 0.38])
    assert (sum(odd), odd[2]) == (LONGEST_PERIOD, 1)


class Numbered:
    """Windows that say which they are: source, epoch, index."""

    tokenizer = None

    def __init__(self, source: int, size: int) -> None:
        self.source, self.size, self.epoch = source, size, 0
        self.fingerprint = f"numbered {source}"

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        return torch.tensor([[self.source, self.epoch, index] for index in indices])


def numbered() -> list[Source]:
    given = enumerate(zip(SIZES, WEIGHTS, strict=True))
    return [Source(f"s{i}", weight, Numbered(i, size)) for i, (size, weight) in given]


def test_a_source_repeats_in_another_order_once_all_of_it_was_seen() -> None:
    mixture = MixedWindows(numbered(), seed=3)
    rows = mixture.__getitems__(range(400)).tolist()
    shares = Counter(source for source, _, _ in rows)
    assert shares == {0: 200, 1: 120, 2: 80}
    for source, size in enumerate(SIZES):
        seen = [(epoch, index) for s, epoch, index in rows if s == source]
        assert [epoch for epoch, _ in seen] == sorted(epoch for epoch, _ in seen)
        epochs = [
            [index for _, index in seen[start : start + size]]
            for start in range(0, len(seen) - size + 1, size)
        ]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1]
    assert mixture.epochs_in(400) == [40, 3, pytest.approx(80 / 11)]


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    rows = MixedWindows(numbered(), seed=3).__getitems__(range(300))
    again = MixedWindows(numbered(), seed=3)
    numbers = list(range(300))
    random.Random(1).shuffle(numbers)
    for number in numbers[:50]:
        assert again[number].tolist() == rows[number].tolist()
    assert torch.equal(again.__getitems__(numbers), rows[numbers])
    far = 10**15 + 7
    assert torch.equal(again[far], MixedWindows(numbered(), seed=3)[far])
    assert not torch.equal(MixedWindows(numbered(), seed=4).__getitems__(range(300)), rows)


def test_processes_share_the_samples_of_one() -> None:
    def taken(world: int, batch: int) -> list[list[int]]:
        ranks = [
            BatchSampler(1 << 62, batch, 0, shuffle=False, rank=rank, world_size=world)
            for rank in range(world)
        ]
        return [torch.cat([each.next_batch() for each in ranks]).tolist() for _ in range(5)]

    assert taken(1, 6) == taken(2, 3) == taken(3, 2)


def test_validation_is_mixed_as_the_training_is_and_repeats_nothing() -> None:
    mixture = MixedValidation(numbered())
    assert len(mixture) == 10  # the five windows of the first are half of it
    rows = [tuple(mixture[number].tolist()) for number in range(10)]
    assert len(set(rows)) == 10
    assert Counter(source for source, _, _ in rows) == {0: 5, 1: 3, 2: 2}
    assert sorted(index for source, _, index in rows if source == 1) == [0, 13, 26]
    with pytest.raises(IndexError):
        mixture[10]


def test_sources_of_different_kinds_make_one_batch() -> None:
    class Labelled(Numbered):
        def __getitems__(self, indices: list[int]) -> Any:
            tokens = torch.tensor([[7, 8, 9, 9 + index] for index in indices])
            labels = tokens.masked_fill(tokens < 9, IGNORED)
            return LabelledRows(tokens, labels, torch.tensor([[0, 1, 0, 1]] * len(indices)))

    sources = [Source("a", 1, Numbered(0, 4)), Source("b", 1, Labelled(1, 4))]
    rows = MixedWindows(sources, seed=0).__getitems__([0, 1])
    assert isinstance(rows, LabelledRows)
    assert rows.tokens[0].tolist() == [0, 0, rows.tokens[0, 2], IGNORED]
    assert rows.labels[0].tolist() == rows.tokens[0].tolist()
    tokens = rows.tokens[1].tolist()
    assert rows.labels[1].tolist() == [IGNORED, IGNORED, tokens[2], tokens[3]]
    assert rows.positions is not None
    assert rows.positions.tolist() == [[0, 1, 2, 0], [0, 1, 0, 1]]


@pytest.fixture
def sources(tmp_path: Path) -> DataConfig:
    (tmp_path / "a.txt").write_text("the first source. " * 20)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "THE SECOND SOURCE! " * 9}) + "\n")
    weighted = [("a.txt", 3.0), ("b.jsonl", 1.0)]
    return DataConfig(sources=[DataSource(str(tmp_path / name), w) for name, w in weighted])


def test_a_mixture_of_files(
    sources: DataConfig, make_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(data=sources, sequence_length=8, max_steps=40, batch_size=4)
    assert inspect_run(config, VisibleData.here(config)).problems == []
    with caplog.at_level(logging.INFO):
        train, validation = load_dataset(None, config)
    assert "75 % of the samples from" in caplog.text
    assert "a.txt' (39 windows, gone through 3.08 times in 40 steps)" in caplog.text
    second = [bytes(train[i].tolist()).isupper() for i in range(16)]
    assert second.count(True) == 4
    assert validation is not None
    found = [bytes(validation[i].tolist()) for i in range(len(validation))]
    assert sum(b"E" in text or b"!" in text for text in found) == len(found) // 4
    assert train.tokenizer is not None
    config.val_dataset_path = sources.sources[0].path
    assert len(load_dataset(None, config)[1]) == -(-359 // 8)


def test_sources_without_validation(sources: DataConfig, make_config: Any) -> None:
    config = make_config(data=sources, sequence_length=8, val_fraction=0.0)
    assert load_dataset(None, config)[1] is None


def test_a_bad_source_is_named(sources: DataConfig, make_config: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    sources.sources[1].path = str(tmp_path / "empty.txt")
    config = make_config(data=sources)
    (problem,) = inspect_run(config, VisibleData.here(config)).problems
    assert problem.field == "data.sources[1].path"
    with pytest.raises(DataError, match="is empty"):
        load_dataset(None, config)
    with pytest.raises(DataError, match="there must be one of the two"):
        load_dataset(tmp_path, config)
    with pytest.raises(DataError, match="there must be one of the two"):
        load_dataset(None, make_config())


def run(folder: Path, data: DataConfig, steps: int, **fields: Any) -> Trainer:
    config = TrainingConfig.from_dict(
        {
            "model_config": {
                "vocab_size": 256, "hidden_size": 16, "num_layers": 1, "num_heads": 2,
                "max_position_embeddings": 16,
            },
            "batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": steps,
            "warmup_steps": 1, "scheduler_type": "constant", "val_fraction": 0.0,
            "checkpoint_dir": str(folder), "device": "cpu",
            "data": {"sources": [vars(source) for source in data.sources]}, **fields,
        }
    )  # fmt: skip
    trainer = Trainer(config, *load_dataset(config.dataset_path, config))
    trainer.train()
    return trainer


def test_a_resume_changes_no_bit(tmp_path: Path, sources: DataConfig) -> None:
    straight = run(tmp_path / "straight", sources, 6)
    for steps in (2, 6):
        broken = run(
            tmp_path / "broken", sources, steps, resume_from_checkpoint=steps > 2,
            num_workers=int(steps > 2),
        )  # fmt: skip
    assert broken.exactness_notes == []
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, broken.model.state_dict()[name]), name
    sources.sources[0].weight = 2.0
    other = run(tmp_path / "broken", sources, 7, resume_from_checkpoint=True)
    assert other.exactness_notes == ["the data are not those it was begun with"]


def test_the_validation_loss_of_each_source(tmp_path: Path, sources: DataConfig) -> None:
    trainer = run(tmp_path, sources, 2, val_fraction=0.5, batch_size=3, ema_decay=0.9)
    found = trainer.metrics_tracker.get_latest() | trainer._reporter.latest
    assert {"val_loss/a.txt", "val_loss/b.jsonl"} < found.keys()
    assert trainer._data.val_reader is not None
    sums, counts = {0: 0.0, 1: 0.0}, {0: 0, 1: 0}
    dataset = load_dataset(None, trainer.config)[1]
    assert isinstance(dataset, MixedValidation)
    for index in range(len(dataset)):
        tokens = dataset[index][None]
        with torch.no_grad():
            loss = trainer.model.eval()(tokens[:, :-1], tokens[:, 1:], reduction="sum")[1]
        source = int(dataset.sources_of(torch.tensor([index])))
        sums[source] += loss.item()
        counts[source] += tokens.shape[1] - 1
    assert found["val_loss/a.txt"] == pytest.approx(sums[0] / counts[0], rel=1e-5)
    assert found["val_loss/b.jsonl"] == pytest.approx(sums[1] / counts[1], rel=1e-5)
    assert found["val_loss"] == pytest.approx(sum(sums.values()) / sum(counts.values()), rel=1e-5)


def test_a_source_has_the_end_of_its_path_as_name() -> None:
    assert loss_names(["/d/wiki.txt", "code"]) == ["val_loss/wiki.txt", "val_loss/code"]
    assert loss_names(["a/x.txt", "b/x.txt"]) == ["val_loss/a/x.txt", "val_loss/b/x.txt"]
    assert loss_names(["a,b é.txt"]) == ["val_loss/a-b--.txt"]
    assert loss_names(["x", "x"]) == ["val_loss/1-x", "val_loss/2-x"]
    assert loss_names(list(map(str, range(31)))) == []
    assert [len(name) for name in loss_names(["y" * 100])] == [64]


def test_sources_are_one_work(
    sources: DataConfig, make_config: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.preparation.SHOW_SECONDS", 0.0)
    total = sum(Path(source.path).stat().st_size for source in sources.sources)
    seen: list[WorkDone] = []
    with progress.reporting_to(Preparation(seen.append).advance):
        load_dataset(None, make_config(data=sources, sequence_length=8))
    for name in ("reading", "tokenizing"):
        done = [work.done for work in seen if work.name == name]
        assert done == sorted(done)
        assert done[-1] == total
    assert {work.total for work in seen} == {total}
