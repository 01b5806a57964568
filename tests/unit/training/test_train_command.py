"""`python train.py`, as a person runs it: in a folder of its own, with Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.training import CheckpointManager

SCRIPT = Path(__file__).parents[3] / "train.py"
CONFIG = """
model_config: {vocab_size: 256, hidden_size: 16, num_layers: 1, num_heads: 1,
               max_position_embeddings: 8}
batch_size: 2
max_steps: 6
warmup_steps: 1
logging_steps: 2
save_steps: 4
eval_steps: 4
learning_rate: 1e-3
checkpoint_dir: ./run
device: cpu
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", str(SCRIPT), "--config", "config.yaml", *arguments]


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_run_from_start_to_end(folder: Path) -> None:
    done = train(folder, "--dataset=~/text.txt", "--set", "checkpoint_dir=~/run")
    assert done.returncode == 0, done.stderr
    assert "done: 6 steps, checkpoints in ~/run" in done.stderr
    kept = CheckpointManager(folder / "run").list_checkpoints()
    assert [entry["step"] for entry in kept] == [4, 6]
    log = (folder / "training.log").read_text()
    assert re.search(r"INFO step 2: loss=\d\.\d+ .*lr=.*tokens_per_second=", log)
    assert "step 4: val_loss=" in log


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a person sees of a run that succeeds."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(command(*arguments), cwd=folder, env=environment, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side is closed
        while data := os.read(ours, 1 << 16):
            seen += data
    os.close(ours)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_the_bar_shows_a_validation_that_takes_long(folder: Path) -> None:
    (folder / "long.txt").write_text("the quick brown fox jumps over the lazy dog. " * 300)
    seen = on_a_terminal(folder, "--dataset", "text.txt", "--set", "val_dataset_path=long.txt")
    counts = [
        (int(done), int(total)) for done, total in re.findall(r"validating (\d+)/(\d+)", seen)
    ]
    # 64 batches are passed at step 4 before the bar is drawn again; at the end it is the whole set.
    whole = [done for done, total in counts if total > 64]
    assert len(whole) > 1
    assert whole == sorted(whole)
    assert re.search(r"ETA \d+:\d\d:\d\d", seen)
    assert "\x1b[?25hdone: " in seen
    assert re.search(r"tokenizing data: [\d.]+ KiB of 13.\d+ KiB", seen)


def test_mistakes_are_told_without_a_traceback(folder: Path) -> None:
    done = train(folder, "--set", "batch_sise=3", "--set", "model_config.num_heads=3")
    assert done.returncode == 1
    assert "did you mean `batch_size`?" in done.stderr
    assert "`num_heads` is 3; it must divide hidden_size=16" in done.stderr
    assert "give --dataset PATH, or set it in the file" in done.stderr
    assert "Traceback" not in done.stderr
    twice = train(
        folder, "--dataset", "text.txt", "--set", "dataset_path=text.txt",
        "--set", "checkpoint_dir=text.txt/run",
    )  # fmt: skip
    assert "--dataset and --set dataset_path both name the data; leave one" in twice.stderr
    missing = train(folder, "--dataset", "nowhere.txt", "--set", "checkpoint_dir=text.txt/run")
    assert "'text.txt/run', which cannot be written (Not a directory); choose" in missing.stderr
    assert missing.returncode == 1
    assert "'nowhere.txt'" in missing.stderr
    assert "cannot be opened (No such file or directory)" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_ctrl_c_saves_and_says_how_to_go_on(folder: Path) -> None:
    arguments = ("--dataset", "text.txt", "--set", "max_steps=1000000", "--set", "num_workers=2")
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        journal = folder / "run" / "metrics.jsonl"
        while not (journal.exists() and journal.read_text()):
            assert time.monotonic() < deadline, "the run never logged a step"
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    stopped = re.search(r"stopped at step (\d+), saved in \./run", errors)
    assert stopped, errors
    newest = CheckpointManager(folder / "run").list_checkpoints()[-1]["step"]
    assert newest == int(stopped[1])
    assert "go on with: python train.py --config config.yaml --dataset text.txt" in errors
    assert "--resume" in errors
    more = train(folder, *arguments[:2], "--resume", "--set", f"max_steps={newest + 2}")
    assert more.returncode == 0, more.stderr
    assert f"max_steps: 1000000 -> {newest + 2}" in more.stderr
