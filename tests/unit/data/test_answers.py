"""A model that was trained on conversations answers one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.training.inference import load_trained
from app.training.sampled_text import NotSampledError, answer_pieces
from app.transformer import TransformerConfig
from training_engine.cli.app import app

TURNS = {"Is it far?": "No.", "Why?": "It is near."}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains with a tokenizer until the answers are known by heart; returns the checkpoint."""
    folder = tmp_path_factory.mktemp("chat")
    chats = [{"prompt": question, "completion": answer} for question, answer in TURNS.items()]
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, chats * 4)))

    def train(tokenizer: str) -> Path:
        config = TrainingConfig(
            model_config=TransformerConfig(
                vocab_size=270, hidden_size=32, num_layers=1, num_heads=2,
                max_position_embeddings=128,
            ),
            tokenizer=tokenizer, max_steps=60, warmup_steps=5, learning_rate=1e-2, batch_size=2,
            eval_steps=1000, save_steps=1000, logging_steps=1000, val_fraction=0.0,
            checkpoint_dir=str(folder / tokenizer.replace(":", "-")), device="cpu",
        )  # fmt: skip
        torch.manual_seed(1)
        Trainer(config, *load_dataset(folder / "chats.jsonl", config)).train()
        return Path(config.checkpoint_dir) / "checkpoint_step_60.pt"

    return train


@pytest.mark.parametrize("tokenizer", ["byte", "bpe:270"])
def test_an_answer_is_the_assistants_turn_alone(
    trained: Callable[[str], Path], tokenizer: str
) -> None:
    path = trained(tokenizer)
    loaded = load_trained(path)
    for question, answer in TURNS.items():
        pieces = list(answer_pieces(loaded, [("user", question)], temperature=0.0, max_tokens=60))
        assert "".join(piece.text for piece in pieces) == answer
        assert [piece.finish_reason for piece in pieces][-1] == "stop"
        cut = list(answer_pieces(loaded, [("user", question)], temperature=0.0, max_tokens=1))
        assert [piece.finish_reason for piece in cut] == ["length"]
    asked = ["generate", "--local", str(path), "--chat", "-p", "Is it far?", "--temperature", "0"]
    assert CliRunner().invoke(app, asked).stdout == "No.\n"
    with pytest.raises(NotSampledError, match=r"`messages\[1\].role` is 'bot'; it must be one of"):
        answer_pieces(loaded, [("user", "Hi"), ("bot", "Hi")])
    without = replace(loaded, chat_template=None)
    with pytest.raises(NotSampledError, match="the checkpoint has no chat template"):
        answer_pieces(without, [("user", "Hi")])
