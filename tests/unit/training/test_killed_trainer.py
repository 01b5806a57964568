"""A trainer that is killed again and again, at no particular moment, ends with the same bits."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from app.training import CheckpointManager

KILLS = 3
PROGRAM = """
import sys
import torch
from app.training import Trainer, TrainingConfig
from app.transformer import TransformerConfig

class Drawing:
    def __len__(self):
        return 37

    def __getitem__(self, index):
        return torch.randint(0, 50, (17,))

torch.set_num_threads(1)
model = TransformerConfig(
    vocab_size=50, hidden_size=32, num_layers=2, num_heads=2, max_position_embeddings=16,
    dropout_rate=0.1,
)
config = TrainingConfig(
    model_config=model, batch_size=4, max_steps=60, warmup_steps=2, logging_steps=3,
    save_steps=1, eval_steps=20, checkpoint_dir=sys.argv[1], resume_from_checkpoint=True,
    device="cpu",
)
Trainer(config, Drawing(), Drawing()).train()
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(folder)], stderr=subprocess.DEVNULL
    )


def steps_saved(folder: Path) -> int:
    kept = CheckpointManager(folder).list_checkpoints()
    return int(kept[-1]["step"]) if kept else 0


def history(folder: Path) -> list[tuple[float, ...]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("loss", "lr", "grad_norm", "val_loss")
    return [(line["step"], *(line.get(name) for name in names)) for line in lines]


@pytest.mark.slow
def test_kills_in_the_middle_of_saves_change_no_bit(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert start(straight).wait(timeout=120) == 0
    moments = random.Random(4)
    for _ in range(KILLS):
        before = steps_saved(killed)
        process = start(killed)
        deadline = time.monotonic() + 60
        # Every step is saved, so a kill soon after a save mostly falls into the next one.
        while steps_saved(killed) <= before + 5 and process.poll() is None:
            assert time.monotonic() < deadline, "the run makes no progress"
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.05))
        process.kill()
        process.wait()
    assert 0 < steps_saved(killed) < 60
    assert start(killed).wait(timeout=120) == 0
    first, second = (
        CheckpointManager(folder).load_state(folder / "checkpoint_step_60.pt")["model_state_dict"]
        for folder in (straight, killed)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert history(straight) == history(killed)
    assert not list(killed.glob(".*.tmp"))
