"""The quick reference's patterns, end to end, at sizes that a laptop runs in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from app.training import CheckpointManager, Trainer, TrainingConfig, get_scheduler
from app.training.data import load_dataset
from app.training.scheduler import CosineSchedulerWithWarmup
from app.transformer import GPTModel, TransformerConfig

MODEL = TransformerConfig(
    vocab_size=256, hidden_size=32, num_layers=2, num_heads=2, max_position_embeddings=32
)


class MyDataset(Dataset[torch.Tensor]):
    """The quick reference's own: new random tokens at every access."""

    def __init__(self, size: int = 40, seq_len: int = 24) -> None:
        self.size = size
        self.seq_len = seq_len

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, idx: int) -> torch.Tensor:
        return torch.randint(0, 256, (self.seq_len,))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**changes: Any) -> TrainingConfig:
    values: dict[str, Any] = {"batch_size": 4, "warmup_steps": 2, "device": "cpu"}
    return TrainingConfig(model_config=MODEL, **(values | changes))


def test_yaml_to_trained_checkpoint() -> None:
    config(max_steps=6, logging_steps=2, save_steps=3).to_yaml("config.yaml")
    read = TrainingConfig.from_yaml("config.yaml")
    trainer = Trainer(config=read, train_dataset=MyDataset(), val_dataset=MyDataset(size=4))
    trainer.train()
    assert trainer.get_throughput()["tokens_per_second"] > 0
    assert trainer.metrics_tracker.get_averages()["loss"] == pytest.approx(5.5, abs=0.3)

    manager = CheckpointManager(checkpoint_dir="./checkpoints", max_checkpoints=5)
    latest = manager.get_latest_checkpoint()
    assert latest is not None
    model = GPTModel(MODEL)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2]},
            {"params": [p for p in model.parameters() if p.ndim < 2]},
        ]
    )
    scheduler = get_scheduler("cosine", optimizer, 2, 6)
    step, loss, saved = manager.load_checkpoint(latest, model, optimizer, scheduler)
    assert (step, saved) == (6, read)
    assert loss == trainer.metrics_tracker.get_latest()["loss"]
    assert [entry["step"] for entry in manager.list_checkpoints()] == [3, 6]
    trained = trainer.model.state_dict()
    assert all(torch.equal(t, trained[name]) for name, t in model.state_dict().items())
    assert isinstance(trainer.scheduler, CosineSchedulerWithWarmup)


def test_pattern_5_resume_from_the_run_s_own_config() -> None:
    first = Trainer(
        config=config(max_steps=4, checkpoint_dir="./checkpoints/run1"), train_dataset=MyDataset()
    )
    first.train()
    again = TrainingConfig.from_yaml("./checkpoints/run1/config.yaml")
    again.max_steps = 8
    again.resume_from_checkpoint = True
    second = Trainer(config=again, train_dataset=MyDataset())
    assert second.step == 4
    second.train()
    assert second.step == 8


def test_a_text_is_learnt(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 200)
    settings = config(max_steps=60, learning_rate=1e-2, dataset_path="text.txt", eval_steps=20)
    train, val = load_dataset("text.txt", settings)
    trainer = Trainer(settings, train, val)
    trainer.train()
    latest = trainer.metrics_tracker.get_latest()
    assert latest["loss"] < 3.0  # from 5.5, that of guessing among 256 bytes
    state = trainer.manager.load_state(trainer.manager.get_latest_checkpoint() or "")
    assert state["tokenizer"] == {"format": 1, "type": "byte"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [None, "bf16", "fp16"])
def test_a_run_on_a_gpu_resumes(precision: Any) -> None:
    settings = {"device": "cuda", "mixed_precision": precision, "max_steps": 8}
    Trainer(config(**settings | {"max_steps": 4}), MyDataset()).train()
    resumed = Trainer(config(**settings, resume_from_checkpoint=True), MyDataset())
    resumed.train()
    assert resumed.step == 8
    # A peak: activations and gradients were there while a step was made, and are gone now.
    held = torch.cuda.memory_allocated() / 2**30
    assert resumed.metrics_tracker.get_latest()["gpu_memory_allocated_gb"] > held
