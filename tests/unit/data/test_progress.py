"""Preparing data tells that it goes on, so that a long one is not taken for a hang."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training import progress
from app.training.data import load_dataset
from app.training.data.cache import get_or_create

TEXT = "to be or not to be\n" * 200_000


def write(folder: Path, ending: str) -> Path:
    path = folder / f"data{ending}"
    lines = TEXT.splitlines()
    if ending == ".jsonl":
        path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    elif ending == ".parquet":
        pq.write_table(pa.table({"text": lines}), path)
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
