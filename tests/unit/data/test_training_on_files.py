"""Text files through the trainer: the whole validation set, and exact resume across epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.training.inference import load_for_generation
from app.transformer.config import TransformerConfig

TEXT = "it was the best of times, it was the worst of times\n" * 8  # 7 windows of 48 an epoch


def run(folder: Path, text: Path, steps: int, **fields: Any) -> Trainer:
    model = TransformerConfig(
        vocab_size=16,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        max_position_embeddings=48,
        dropout_rate=0.1,
    )
    config = TrainingConfig(
        model_config=model,
        batch_size=2,
        gradient_accumulation_steps=3,
        learning_rate=1e-2,
        max_steps=steps,
        warmup_steps=1,
        scheduler_type="constant",
        logging_steps=1,
        eval_steps=4,
        save_steps=100,
        checkpoint_dir=str(folder),
        tokenizer="char",
        device="cpu",
        **fields,
    )
    trainer = Trainer(config, *load_dataset(text, config))
    trainer.train()
    return trainer


def test_two_resumes_in_mid_epoch_change_no_bit(tmp_path: Path):
    text = tmp_path / "a.txt"
    text.write_text(TEXT)
    straight = run(tmp_path / "straight", text, 9)
    for steps in (2, 5, 9):
        broken = run(tmp_path / "broken", text, steps, resume_from_checkpoint=steps > 2)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, broken.model.state_dict()[name]), name


def test_the_checkpoint_carries_the_alphabet(tmp_path: Path):
    text = tmp_path / "a.txt"
    text.write_text(TEXT)
    run(tmp_path / "run", text, 2)
    _, tokenizer = load_for_generation(tmp_path / "run" / "checkpoint_step_2.pt")
    assert tokenizer is not None
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
