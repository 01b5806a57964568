"""`python train.py` and `torchrun train.py` with two processes, as a person runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
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
dataset_path: text.txt
distributed: {strategy: ddp, processes: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return tmp_path


def start(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", *launcher, str(SCRIPT), "--config", "config.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return found


def logged(folder: Path) -> bool:
    journal = folder / "run" / "metrics.jsonl"
    return journal.exists() and journal.read_text() != ""


def test_sigterm_to_all_stops_them_saved_and_a_killed_launcher_leaves_none(folder: Path) -> None:
    process = start(folder, "--set", "max_steps=1000000", "--set", "num_workers=1")
    wait_for(lambda: logged(folder), process)
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) == 2
    listening = {
        connection.laddr.ip
        for each in [psutil.Process(process.pid), *ranks]
        for connection in each.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    for _ in range(2):  # GNU's timeout sends it to its child, and to its group
        os.killpg(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.count("saved in ./run") == 1
    resume = "go on with: python train.py --config config.yaml --set max_steps=1000000 --set num_w"
    assert resume in told.replace("\n", " ")
    saved = CheckpointManager(folder / "run").list_checkpoints()[-1]["step"]
    again = start(folder, "--set", "max_steps=1000000", "--resume")
    wait_for(
        lambda: CheckpointManager(folder / "run").list_checkpoints()[-1]["step"] > saved, again
    )
    ranks = psutil.Process(again.pid).children()
    again.kill()
    again.communicate(timeout=10)
    psutil.wait_procs(ranks, timeout=10)
    assert [rank for rank in ranks if rank.is_running()] == []


def test_a_mistake_that_only_the_run_can_find_is_told(folder: Path) -> None:
    process = start(folder, "--resume", "nowhere.pt")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: there is no checkpoint nowhere.pt; check the path" in told
    assert "Traceback" not in told
