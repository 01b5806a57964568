"""Preparing data tells that it goes on, so that a long one is not taken for a hang."""

from __future__ import annotations

import fcntl
import gzip
import itertools
import json
import logging
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from app.training import progress
from app.training.data import DataError, load_dataset
from app.training.data.cache import get_or_create
from app.training.preparation import Preparation, WorkDone
from app.training.tokenizer_training import train_bpe

TEXT = ("to be or not to be, " * 19 + "\n") * 10_000


def write(folder: Path, ending: str) -> Path:
    path = folder / f"data{ending}"
    lines = TEXT.splitlines()
    if ending == ".jsonl":
        path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    elif ending == ".parquet":
        pq.write_table(pa.table({"text": lines}), path)
    elif ending == ".arrow":
        pa.feather.write_feather(pa.table({"text": lines}), path, chunksize=1000)
    elif ending == ".csv":
        path.write_text("text\n" + TEXT.replace(", ", " "))
    elif ending == ".txt.gz":
        path.write_bytes(gzip.compress(TEXT.encode(), 1))
    elif ending == ".bin":
        path.write_bytes(np.frombuffer(TEXT.encode(), np.uint8).astype("<u2").tobytes())
    else:
        path.write_text(TEXT)
    return path


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".parquet", ".bin"])
def test_every_byte_that_is_worked_through_is_told(
    tmp_path: Path, cache: Path, make_config: Any, ending: str
) -> None:
    path = write(tmp_path, ending)
    heard: list[int] = []
    with progress.reporting_to(heard.append):
        load_dataset(path, make_config())
    assert sum(heard) >= 2 * path.stat().st_size  # once for its digest, once for its content
    assert max(heard) <= 1 << 23
    told = len(heard)
    load_dataset(path, make_config())  # nobody listens any more
    assert len(heard) == told


@pytest.mark.parametrize("ending", [".txt", ".txt.gz", ".jsonl", ".csv", ".parquet", ".arrow"])
def test_work_on_data_is_counted_in_bytes_of_its_file(
    tmp_path: Path,
    cache: Path,
    make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    monkeypatch.setattr("app.training.preparation.SHOW_SECONDS", 0.0)
    size = write(tmp_path, ending).stat().st_size
    seen: list[WorkDone] = []
    with progress.reporting_to(Preparation(seen.append).advance):
        load_dataset(tmp_path / f"data{ending}", make_config())
    works = {name: list(told) for name, told in itertools.groupby(seen, lambda work: work.name)}
    assert list(works) == ["reading", "tokenizing"]
    for told in works.values():
        done = [work.done for work in told]
        assert done == sorted(done)
        assert {work.total for work in told} == {size}
    assert len({work.done for work in works["tokenizing"]}) > 1
    assert works["tokenizing"][-1].done == size


def test_a_folder_is_one_work(
    tmp_path: Path, cache: Path, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.preparation.SHOW_SECONDS", 0.0)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(TEXT[: 1 << 20])
    seen: list[WorkDone] = []
    with progress.reporting_to(Preparation(seen.append).advance):
        load_dataset(tmp_path, make_config())
    tokenized = [work for work in seen if work.name == "tokenizing"]
    assert {work.total for work in tokenized} == {3 << 20}
    assert tokenized[-1].done == 3 << 20


def test_the_training_of_a_tokenizer_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.training.preparation.SHOW_SECONDS", 0.0)
    monkeypatch.setattr("app.training.tokenizer_training._SHOW_SECONDS", 0.001)
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=8)) for _ in range(20_000)]
    seen: list[WorkDone] = []
    with progress.reporting_to(Preparation(seen.append).advance):
        train_bpe([" ".join(words)], 1000)
    assert {(work.name, work.total) for work in seen} == {("training_tokenizer", 0)}
    assert str(seen[0]) == "training tokenizer: 0:00:00"


def test_an_error_in_the_text_of_a_tokenizer_is_raised() -> None:
    def texts() -> Iterator[str]:
        yield "some text"
        raise DataError("the second is bad")

    with pytest.raises(DataError, match="the second is bad"):
        train_bpe(texts(), 1000)


def test_the_log_says_now_and_then_how_far_the_work_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.training.preparation.LOG_SECONDS", -1.0)
    caplog.set_level(logging.INFO, logger="app")
    prepared = Preparation(lambda work: None)
    with progress.working("tokenizing", 1 << 30), progress.reading_file(lambda: 1 << 28):
        prepared.advance(1)
    assert caplog.messages == ["tokenizing data: 256.0 MiB of 1.0 GiB"]
    work = WorkDone("tokenizing", 1 << 28, 1 << 30, float(1 << 22))
    assert str(work) == "tokenizing data: 256.0 MiB of 1.0 GiB, 4.0 MiB/s, 0:03:12 left"


def test_who_waits_for_another_process_passes_its_signs_of_life_on(cache: Path) -> None:
    key = "b" * 64
    lock = cache / "tokens" / f"{key}.lock"
    lock.parent.mkdir(parents=True)
    heard = threading.Semaphore(0)
    done: list[Any] = []

    def wait() -> None:
        with progress.reporting_to(lambda size: heard.release()):
            done.append(get_or_create(cache, key, "<u2", lambda: ([np.arange(3)], {})))

    with lock.open("a") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not heard.acquire(timeout=0.5)  # the holder may hang: so does who waits for it
        for second in range(3):
            os.utime(lock, (second, second))
            assert heard.acquire(timeout=10)
        assert not done
    waiting.join(timeout=10)
    assert done[0].count == 3


def test_the_holder_of_a_lock_shows_that_it_lives(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.data.cache._TOUCH_SECONDS", 0.0)
    key = "c" * 64
    lock = cache / "tokens" / f"{key}.lock"
    times = []

    def arrays() -> Any:
        for _ in range(3):
            os.utime(lock, (1, 1))
            yield np.arange(3)
            times.append(lock.stat().st_mtime)

    get_or_create(cache, key, "<u2", lambda: (arrays(), {}))
    assert min(times) > 1
