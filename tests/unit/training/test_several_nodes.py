"""A run over two nodes: two agents of torchrun on this machine, each with a cache of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from free_ports import free_port
from torch.distributed import HashStore  # type: ignore[attr-defined]

from app.training import CheckpointManager, TrainingConfig, distributed_launch
from app.training.agreement import require_agreement
from app.training.config import flatten
from app.training.distributed import Ranks
from app.training.errors import LostPeerError, TrainingError, UnreachableNodeError
from app.training.node import Node
from app.training.nodes import require_fixed_world, wait_for_all, write_failure
from app.transformer.errors import ConfigError

SCRIPT = Path(__file__).parents[3] / "train.py"
CONFIG = """
model_config: {vocab_size: 256, hidden_size: 16, num_layers: 1, num_heads: 1,
               max_position_embeddings: 8}
batch_size: 2
max_steps: 8
warmup_steps: 1
logging_steps: 2
save_steps: 4
eval_steps: 4
learning_rate: 1e-3
scheduler_type: constant
max_checkpoints_to_keep: 1000000
checkpoint_dir: ../run
device: cpu
dataset_path: ../text.txt
distributed: {strategy: fsdp}
"""
RESUMED = ("step", "model_state", "optimizer_state", "rng_state", "sampler_state")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `train.py` in a folder of its own: two processes of one node, or an agent of two."""
    started = []

    def start(name: str, *arguments: str, port: int | None = None) -> subprocess.Popen[str]:
        (folder / name).mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "torch.distributed.run"]
        if port is None:
            command += ["--standalone", "--nproc-per-node", "2"]
        else:
            command += f"--nnodes 2 --local-addr 127.0.0.1 --rdzv-id run \
                --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:{port}".split()
        process = subprocess.Popen(
            [*command, str(SCRIPT), "--config", "../config.yaml", *arguments],
            cwd=folder / name,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
                "TRAINING_ENGINE_CACHE": str(folder / name / "cache"),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = process.communicate(timeout=120)
    return process.returncode, told


def state_of(path: Path) -> dict[str, Any]:
    """Return all that a resumed run would go on from, by dotted names."""
    state = flatten(CheckpointManager(path.parent).load_state(path))
    return {name: value for name, value in state.items() if name.startswith(RESUMED)}


def test_two_nodes_go_on_as_one_would_and_end_when_an_agent_is_killed(
    folder: Path, start: Start
) -> None:
    status, told = ended(start("one", "--set", "checkpoint_dir=../one"))
    assert status == 0, told
    assert told.count("done: 8 steps, checkpoints in ../one") == 1
    assert (folder / "one" / "training.log").read_text().count("INFO step 2: loss=") == 1
    middle = folder / "one" / "checkpoint_step_4.pt"
    port, more = free_port(), ("--set", "max_steps=1000000", "--resume", str(middle))
    first, second = (start(name, *more, port=port) for name in ("a", "b"))
    deadline = time.monotonic() + 120
    while not (folder / "run" / "checkpoint_step_8.json").exists():
        assert time.monotonic() < deadline
        assert first.poll() is second.poll() is None
        time.sleep(0.02)
    ranks = psutil.Process(first.pid).children() + psutil.Process(second.pid).children()
    second.kill()
    status, told = ended(first)
    assert (status, ended(second)[0]) == (1, -signal.SIGKILL)
    assert re.search(r"error: another process of the run is gone, rank \d cannot go on after", told)
    psutil.wait_procs(ranks, timeout=10)
    assert [rank.is_running() for rank in ranks] == [False, False]

    straight, spread = (state_of(folder / name / "checkpoint_step_8.pt") for name in ("one", "run"))
    assert straight.keys() == spread.keys()
    assert [name for name in straight if not equal(straight[name], spread[name])] == []
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    for node in ("a", "b"):
        assert len(list((folder / node / "cache" / "tokens").glob("*/tokens.bin"))) == 1


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return bool(one == other)


def test_a_node_that_fails_before_the_run_ends_the_wait_of_the_others() -> None:
    store = HashStore()
    write_failure(store, "1", "there is no file text.txt; check the path")
    write_failure(store, "3", "a later end")
    with pytest.raises(LostPeerError, match=r"rank 1 on \S+ ended: there is no file text.txt"):
        wait_for_all(store, 0, 2, seconds=60)
    meeting = HashStore()
    meeting.set("come/2", "")
    with pytest.raises(LostPeerError, match=r"of 3 ranks, 1 did not come within 0 s; look at what"):
        wait_for_all(meeting, 0, 3, seconds=0)


def test_ranks_that_are_all_there_begin() -> None:
    store = HashStore()
    others = [threading.Thread(target=wait_for_all, args=(store, rank, 3, 60)) for rank in (1, 2)]
    for other in others:
        other.start()
    wait_for_all(store, 0, 3, seconds=60)
    for other in others:
        other.join(10)
        assert not other.is_alive()


@pytest.mark.parametrize(
    "command",
    [
        "python -m torch.distributed.run --nnodes 1:2 --nproc-per-node 2 train.py --config c.yaml",
        "/usr/bin/python3 /usr/bin/torchrun --nnodes=1:2 train.py",
    ],
)
def test_a_range_of_nodes_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match=r"`--nnodes` is 1:2; it must be one number, since with"):
        require_fixed_world(command.split())


@pytest.mark.parametrize(
    "command",
    [
        "python /usr/bin/torchrun --nnodes 4 train.py --config 1:2",
        "python /torch/distributed/run.py --nnodes 2:2 train.py",
        "python train.py --nnodes 1:2",
    ],
)
def test_a_fixed_number_of_nodes_is_none(command: str) -> None:
    require_fixed_world(command.split())


class Second(Ranks):
    """Rank 1 of a run whose rank 0 says `text`."""

    rank = 1

    def __init__(self, text: str) -> None:
        super().__init__(torch.device("cpu"))
        self._text = text

    def broadcast(self, text: str) -> str:
        return self._text


def test_nodes_with_other_settings_or_other_data_are_refused(
    small_config: Callable[..., TrainingConfig],
) -> None:
    said: list[str] = []

    class First(Ranks):
        def broadcast(self, text: str) -> str:
            said.append(text)
            return text

    first = small_config(learning_rate=1e-3, checkpoint_dir="/here")
    require_agreement(first, [1, 2, 3], First(torch.device("cpu")))
    second = small_config(learning_rate=2e-3, checkpoint_dir="/there")
    with pytest.raises(TrainingError) as refusal:
        require_agreement(second, [1, 2], Second(said[0]))
    assert str(refusal.value).startswith(
        "rank 1 would not train what rank 0 does: learning_rate is 0.002 and there 0.001; the "
        "number of samples is 2 and there 3; all processes need the same configuration"
    )


def test_a_first_machine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_launch, "_CONNECT_SECONDS", 0.2)
    port = free_port()
    node = Node(1, 2, "run", "127.0.0.1", port, "lo")
    where = f"place 1 did not reach the one with place 0 at 127.0.0.1:{port} within 0.2 s"
    with pytest.raises(UnreachableNodeError, match=where):
        distributed_launch.launch(lambda: None, 1, node)
