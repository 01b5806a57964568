"""From a file of records to tokens on disk, against `datasets.map` with the same tokenizer.

The records are texts of about 2,000 characters, cut from the standard library's sources, and the
tokenizer is byte-level BPE with 4,096 ids, trained on them. Each run is a process of its own:
`datasets` maps batches with the `tokenizers` library on every core, with its cache off. The time
begins after the imports. Peak memory is that of the largest process.

`datasets` is not a dependency of this project: `pip install datasets` first.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Claim, describe, interleave, medians, own_peak

MEGABYTES = 16
"""Size of the file that both read."""
_SIZES = {"medium": 100, "large": 1000}
"""Sizes of files between which our memory must stay the same."""
_FOLDERS = {"one": 1, "many": 1000}
"""Files of the folders between which a second start must take the same time."""
_DOCUMENT = 2000
_ROUNDS = 3


def run(device: str) -> list[Claim]:
    """Compare times and peaks; `device` is not used."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for name, megabytes in {"small": MEGABYTES, **_SIZES}.items():
            write_records(here / f"{name}.jsonl", megabytes)
        write_text(here / "medium.txt", _SIZES["medium"])
        train_tokenizer(here)
        return [
            *against_datasets(here),
            flat_memory(here),
            *plain_tokenizers(here),
            second_start(here),
        ]


def against_datasets(here: Path) -> list[Claim]:
    """Measure time and peak memory, in turn with the rival."""
    found: dict[str, list[tuple[float, float]]] = {"datasets.map": [], "ours": []}

    def act(name: str) -> float:
        found[name].append(measure(name, here, "small"))
        return found[name][-1][0]

    seconds = interleave({name: partial(act, name) for name in found}, _ROUNDS)
    peaks = {name: [peak for _, peak in figures] for name, figures in found.items()}
    time_of, memory_of = medians(seconds), medians(peaks)
    return [
        Claim("datasets.map's time / ours", time_of["datasets.map"] / time_of["ours"], 4, True,
              detail=describe(seconds, "s")),
        Claim("our peak / datasets.map's largest process",
              memory_of["ours"] / memory_of["datasets.map"], 0.6, False,
              detail=describe(peaks, "MiB")),
    ]  # fmt: skip


def flat_memory(here: Path) -> Claim:
    """Measure our peak with ten times the file."""
    peaks = {name: [measure("ours", here, name)[1]] for name in _SIZES}
    median = medians(peaks)
    return Claim("our peak for 1 GB / for 100 MB", median["large"] / median["medium"], 1.1, False,
                 detail=describe(peaks, "MiB"))  # fmt: skip


def plain_tokenizers(here: Path) -> list[Claim]:
    """Measure bytes and characters of plain text, on one core, beside `wc -m`."""
    size = _SIZES["medium"]
    speeds = interleave({
        "byte": lambda: size / measure("byte", here, "medium")[0],
        "char": lambda: size / measure("char", here, "medium")[0],
        "wc -m": lambda: size / _seconds_of_wc(here / "medium.txt"),
    }, _ROUNDS)  # fmt: skip
    median = medians(speeds)
    return [
        Claim(f"{name} tokenizer's speed / wc -m", median[name] / median["wc -m"], 0.5, True,
              detail=describe(speeds, "MB/s"))
        for name in ("byte", "char")
    ]  # fmt: skip


def second_start(here: Path) -> Claim:
    """Measure until a trainer could make its first step, where the tokens are in the cache.

    The text is a folder of files of a megabyte: a thousand of them, or one.
    """
    data = (here / "medium.txt").read_bytes()
    for name, count in _FOLDERS.items():
        (here / name).mkdir()
        for number in range(count):
            at = number * 999_983 % (len(data) - 1_000_000)
            (here / name / f"{number}.txt").write_bytes(data[at : at + 1_000_000])
    time.sleep(3)  # of a file that was written just now nothing is remembered
    with tempfile.TemporaryDirectory() as cache:
        starts = {name: partial(_seconds_of_start, here / name, cache) for name in _FOLDERS}
        for first in starts.values():
            first()
        seconds = interleave(starts, _ROUNDS)
    median = medians(seconds)
    return Claim("second start with 1 GB of text / with 1 MB", median["many"] / median["one"], 1.1,
                 False, detail=describe(seconds, "s"))  # fmt: skip


def _seconds_of_start(folder: Path, cache: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.tokenizing", "start", str(folder), "", cache]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _seconds_of_wc(path: Path) -> float:
    started = time.perf_counter()
    with path.open("rb") as file:
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), "wc", "-m"]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        subprocess.run(command, check=True, stdin=file, capture_output=True, env=environment)
    return time.perf_counter() - started


def measure(kind: str, folder: Path, name: str) -> tuple[float, float]:
    """Return the seconds, and the peak of the largest process in MiB."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "benchmarks.tokenizing", kind, str(folder), name, cache]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = out.split()[-2:]
    return float(seconds), float(peak)


def write_records(path: Path, megabytes: int) -> None:
    """Write a file of so many megabytes, a text in each record."""
    with path.open("w") as file:
        for text in itertools.cycle(_texts(megabytes)):
            file.write(json.dumps({"text": text}) + "\n")
            if file.tell() >= megabytes * 1_000_000:
                return


def write_text(path: Path, megabytes: int) -> None:
    """Write a plain text of so many megabytes, in ASCII as most data for characters is."""
    with path.open("wb") as file:
        for text in itertools.cycle(_texts(megabytes)):
            file.write(text.encode("ascii", "ignore"))
            if file.tell() >= megabytes * 1_000_000:
                return


def _texts(megabytes: int) -> Iterator[str]:
    size = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text("utf-8", "ignore")
        size += len(text)
        yield from (text[i : i + _DOCUMENT] for i in range(0, len(text), _DOCUMENT))
        if size >= megabytes * 1_000_000:
            return


def train_tokenizer(folder: Path) -> None:
    """Write the tokenizer.json that both use."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(itertools.islice(_texts(4), 1000), trainer)
    made.save(str(folder / "tokenizer.json"))


def tokenize_with_ours(data: Path, tokenizer: str) -> float:
    """Return the seconds until the tokens are on disk."""
    from app.training.config import TrainingConfig
    from app.training.data.sources import corpus_at
    from app.training.data.tokenizing import tokenize

    config = TrainingConfig(tokenizer=tokenizer)
    started = time.perf_counter()
    tokenize(data, corpus_at(data, config, "train").corpus, config, None)
    return time.perf_counter() - started


def tokenize_with_datasets(data: Path, definition: str, cache: str) -> float:
    """Return the seconds until the mapped table is on disk."""
    import datasets  # type: ignore[import-not-found, unused-ignore]
    from tokenizers import Tokenizer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = Tokenizer.from_file(definition)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer.encode_batch(batch["text"], add_special_tokens=False)
        return {"ids": [each.ids for each in encoded]}

    started = time.perf_counter()
    rows = datasets.load_dataset("json", data_files=str(data), split="train", cache_dir=cache)
    cores = len(os.sched_getaffinity(0))
    rows.map(encode, batched=True, num_proc=cores, remove_columns=["text"])
    return time.perf_counter() - started


def load(data: Path) -> float:
    """Return the seconds until the data is there, the library of the trainer imported before."""
    from app.training.config import TrainingConfig
    from app.training.data import load_dataset
    from app.training.trainer import Trainer  # noqa: F401

    started = time.perf_counter()
    load_dataset(data, TrainingConfig(tokenizer="byte"))
    return time.perf_counter() - started


def main(kind: str, folder: str, name: str, cache: str) -> None:
    """Do one run; print its seconds and its peak."""
    os.environ["TRAINING_ENGINE_CACHE"] = cache
    records, definition = Path(folder, f"{name}.jsonl"), str(Path(folder, "tokenizer.json"))
    if kind == "datasets.map":
        seconds = tokenize_with_datasets(records, definition, cache)
    elif kind == "start":
        seconds = load(Path(folder))
    elif kind == "ours":
        seconds = tokenize_with_ours(records, definition)
    else:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        seconds = tokenize_with_ours(records.with_suffix(".txt"), kind)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(seconds, max(own_peak(), children) / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
